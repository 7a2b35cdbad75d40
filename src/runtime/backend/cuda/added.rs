//! Products that are added to some columns of another one, before its epilogue: `x · Wᵀ + h · Bᵀ`.
//!
//! They take further steps of the same tiles, with sums in f32. So a branch of low rank costs its arithmetic, and no pass over
//! memory.

use super::matmul::MatmulKind;
use super::source::Scaling;
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::unsupported::Unsupported;
use super::view::{Pointer, View};
use super::wgmma::{Left, multiply};
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
    /// For `products`, which are added to sums that are numbers only when they are scaled by `scaling`; the product has
    /// `[rows, columns]`, and a tile `[rows, columns]` shared by the blocks of a cluster.
    ///
    /// # Errors
    /// If the kernel does not support their type or layout.
    pub fn new(
        products: &[AddedProduct],
        scaling: &Scaling,
        shape: [usize; 2],
        [tile_rows, width, cluster]: [usize; 3],
    ) -> Result<Self, Unsupported> {
        if products.is_empty() {
            return Ok(Self { text: "#define IS_SUM 0\n#define ADDED_MAPS\n".into(), ..Self::default() });
        }
        let mut maps = Vec::with_capacity(2 * products.len());
        for AddedProduct { x, weight, .. } in products {
            maps.extend([matrix(x, tile_rows)?, matrix(weight, width / cluster)?]);
        }
        let scales = SumScales::new(scaling, shape)?;
        let text = format!(
            "#define IS_SUM 1\n{}{}{SOURCE}\n{}",
            scales.text,
            multiply("multiply_added", MatmulKind::Bf16, Left::Shared, width),
            fetches(products),
        );
        Ok(Self { text, parameters: scales.parameters, pointers: scales.pointers, maps })
    }
}

/// The source of the functions `added_steps`, how many steps the products take in a tile, and `fetch_added`, which fetches one.
fn fetches(products: &[AddedProduct]) -> String {
    const TILE: usize = TILE_BYTES / 2;
    let each = |text: &dyn Fn(usize) -> String| (0..products.len()).map(text).collect::<String>();
    let (mut steps, mut fetches) = (String::new(), String::new());
    for (index, AddedProduct { columns: Range { start, end }, weight, .. }) in products.iter().enumerate() {
        let own = weight.shape.last().copied().unwrap_or(0).div_ceil(TILE);
        // Writing to a string cannot fail.
        let _ = writeln!(steps, "  if (first >= {start} && first < {end}) steps += {own};");
        let _ = writeln!(
            fetches,
            "  if (first >= {start} && first < {end}) {{\n    \
             if (step < {own}) return fetch_tiles(x_to, weight_to, x_{index}, weight_{index}, step, tile, first - {start} + part, barrier);\n    \
             step -= {own};\n  }}"
        );
    }
    format!(
        "#define ADDED_MAPS {}\n#define ADDED_ARGUMENTS {}\n\
         __device__ __forceinline__ int added_steps(int first) {{\n  int steps = 0;\n{steps}  return steps;\n}}\n\
         __device__ __forceinline__ void fetch_added(unsigned x_to, unsigned weight_to, int step, int tile, int first, int part, unsigned barrier{}) {{\n{fetches}}}\n",
        each(&|index| format!(
            ", const __grid_constant__ TensorMap added_x_{index}, const __grid_constant__ TensorMap added_weight_{index}"
        )),
        each(&|index| format!(", &added_x_{index}, &added_weight_{index}")),
        each(&|index| format!(", const TensorMap* x_{index}, const TensorMap* weight_{index}")),
    )
}

/// What makes numbers of a product's sums, before others are added to them.
struct SumScales {
    /// ROW_SCALE and COLUMN_SCALE, and how they are passed on.
    text: String,
    parameters: String,
    pointers: Vec<Pointer>,
}

impl SumScales {
    fn new(scaling: &Scaling, [rows, columns]: [usize; 2]) -> Result<Self, Unsupported> {
        let (mut factors, mut names, mut pointers) = (Vec::new(), Vec::new(), Vec::new());
        for (name, scales, count) in
            [("row_scales", &scaling.row, rows), ("column_scales", &scaling.column, columns)]
        {
            let Some(scales) = scales else {
                factors.push("1.0f".to_owned());
                continue;
            };
            factors.push(factor(name, scales, count)?);
            names.push(name);
            pointers.push(Pointer::to(scales));
        }
        let parameters: String =
            names.iter().map(|name| format!(", const float* __restrict__ {name}")).collect();
        let arguments: String = names.iter().map(|name| format!(", {name}")).collect();
        let text = format!(
            "#define IS_SCALED {}\n#define ROW_SCALE(index) {}\n#define COLUMN_SCALE(index) {}\n\
             #define SCALES {parameters}\n#define SCALE_ARGUMENTS {arguments}\n",
            u8::from(!names.is_empty()),
            factors[0],
            factors[1],
        );
        Ok(Self { text, parameters, pointers })
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

/// The expression for the scale of `index`, of `count`, in the array `name`.
fn factor(name: &str, scales: &View, count: usize) -> Result<String, Unsupported> {
    if scales.dtype != DType::F32 {
        return Err(Unsupported("scales are not f32".into()));
    }
    let own = scales.shape.iter().product::<usize>();
    if own == 1 || scales.strides.iter().all(|&stride| stride == 0) {
        Ok(format!("{name}[0]"))
    } else if own == count && scales.is_contiguous() {
        Ok(format!("{name}[index]"))
    } else {
        Err(Unsupported("scales are not contiguous".into()))
    }
}
