//! Products that are added to some columns of another one, before its epilogue: `x · Wᵀ + h · Bᵀ`.
//!
//! They take further steps of the same tiles, with sums in f32. So a branch of low rank costs its arithmetic, and no pass over
//! memory.

use super::matmul::MatmulKind;
use super::source::Scaling;
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::unsupported::Unsupported;
use super::view::{Pointer, View};
use super::wgmma::multiply;
use reflux_ir::DType;
use std::fmt::Write;
use std::ops::Range;

const SOURCE: &str = include_str!("kernels/gemm_added.cuh");

/// `h · Bᵀ`, added to `columns`.
#[derive(Clone, Debug)]
pub struct AddedProduct {
    pub columns: Range<usize>,
    /// `[…, rank]`
    pub x: View,
    /// `[columns, rank]`
    pub weight: View,
}

/// What a kernel needs for products that are added.
#[derive(Default)]
pub struct Added {
    /// The source that the kernel includes.
    pub text: String,
    /// Parameters behind all others, each after a comma.
    pub parameters: String,
    pub pointers: Vec<Pointer>,
    pub maps: Vec<TensorMap>,
}

impl Added {
    /// For `products`, which are added to sums that are numbers only when they are scaled by `scaling`.
    ///
    /// # Errors
    /// If the kernel does not support their type or layout.
    pub fn new(
        products: &[AddedProduct],
        scaling: &Scaling,
        [rows, columns]: [usize; 2],
        [tile_rows, width, cluster]: [usize; 3],
    ) -> Result<Self, Unsupported> {
        const TILE: usize = TILE_BYTES / 2;
        if products.is_empty() {
            return Ok(Self { text: "#define IS_SUM 0\n#define ADDED_MAPS\n".into(), ..Self::default() });
        }
        let mut added = Self::default();
        let (mut parameters, mut arguments) = (String::new(), String::new());
        let (mut steps, mut fetches) = (String::new(), String::new());
        for (index, AddedProduct { columns, x, weight }) in products.iter().enumerate() {
            let rank = weight.shape.last().copied().unwrap_or(0);
            added.maps.push(matrix(x, tile_rows)?);
            added.maps.push(matrix(weight, width / cluster)?);
            for name in ["x", "weight"] {
                // Writing to a string cannot fail.
                let _ = write!(parameters, ", const __grid_constant__ TensorMap added_{name}_{index}");
                let _ = write!(arguments, ", &added_{name}_{index}");
            }
            let (Range { start, end }, own) = (columns, rank.div_ceil(TILE));
            let _ = writeln!(steps, "  if (first >= {start} && first < {end}) steps += {own};");
            let _ = writeln!(
                fetches,
                "  if (first >= {start} && first < {end}) {{\n    \
                 if (step < {own}) return fetch_tiles(x_to, weight_to, x_{index}, weight_{index}, step, tile, first - {start} + part, barrier);\n    \
                 step -= {own};\n  }}"
            );
        }
        let maps: String = (0..products.len())
            .map(|index| format!(", const TensorMap* x_{index}, const TensorMap* weight_{index}"))
            .collect();
        let [row, column] = [(&scaling.row, rows), (&scaling.column, columns)]
            .map(|(scales, count)| factor(scales.as_ref(), count));
        let [row, column] = [row?, column?];
        for (name, scales) in [("row_scales", &scaling.row), ("column_scales", &scaling.column)] {
            let Some(scales) = scales else { continue };
            let _ = write!(added.parameters, ", const float* __restrict__ {name}");
            added.pointers.push(Pointer::to(scales));
        }
        let is_scaled = u8::from(scaling.row.is_some() || scaling.column.is_some());
        let _ = write!(
            added.text,
            "#define IS_SUM 1\n#define IS_SCALED {is_scaled}\n#define ADDED_MAPS {parameters}\n#define ADDED_ARGUMENTS {arguments}\n\
             #define ROW_SCALE(index) {}\n#define COLUMN_SCALE(index) {}\n\
             #define SCALES {}\n#define SCALE_ARGUMENTS {}\n\
             {}{SOURCE}\n\
             __device__ __forceinline__ int added_steps(int first) {{\n  int steps = 0;\n{steps}  return steps;\n}}\n\
             __device__ __forceinline__ void fetch_added(unsigned x_to, unsigned weight_to, int step, int tile, int first, int part, unsigned barrier{maps}) {{\n{fetches}}}\n",
            row.replace("NAME", "row_scales"),
            column.replace("NAME", "column_scales"),
            added.parameters,
            added.parameters.replace("const float* __restrict__ ", ""),
            multiply("multiply_added", MatmulKind::Bf16, width),
        );
        Ok(added)
    }
}

/// The map of a matrix of bf16, as TMA fetches it in tiles of so many rows.
fn matrix(view: &View, rows_of_tile: usize) -> Result<TensorMap, Unsupported> {
    let (Some([rows, columns, stride]), DType::BF16) = (view.rows(), view.dtype) else {
        return Err(Unsupported("what is added is not a product of evenly spaced rows of bf16".into()));
    };
    let view = View { shape: vec![1, 1, rows, columns], strides: vec![0, 0, stride, 1], ..view.clone() };
    TensorMap::of(&view, &[1, 1, rows_of_tile])
}

/// The expression for the scale of `index`, of `count`, in the array NAME.
fn factor(scales: Option<&View>, count: usize) -> Result<&'static str, Unsupported> {
    let Some(scales) = scales else { return Ok("1.0f") };
    if scales.dtype != DType::F32 {
        return Err(Unsupported("scales are not f32".into()));
    }
    match (scales.shape.iter().product::<usize>(), scales.is_contiguous()) {
        (1, _) => Ok("NAME[0]"),
        (_, true) if scales.shape.iter().product::<usize>() == count => Ok("NAME[index]"),
        _ if scales.strides.iter().all(|&stride| stride == 0) => Ok("NAME[0]"),
        _ => Err(Unsupported("scales are not contiguous".into())),
    }
}
