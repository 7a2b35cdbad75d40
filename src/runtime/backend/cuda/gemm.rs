//! Products on Hopper's tensor cores, with the epilogue in the same kernel.

use super::Gpu;
use super::matmul::MatmulKind;
use super::source::{Epilogue, Kernel, PlacedSegment, Scaling, epilogue};
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::unsupported::Unsupported;
use super::view::View;
use super::wgmma::multiply;

const HOPPER: &str = include_str!("kernels/hopper.cuh");
const GEMM: &str = include_str!("kernels/gemm_sm90.cuh");
const ROWS: &str = include_str!("kernels/gemm_rows.cuh");
const PIXELS: &str = include_str!("kernels/gemm_pixels.cuh");

/// Rows of a tile, and threads: one warpgroup fetches, two compute 64 rows each.
const TILE_ROWS: usize = 128;
const THREADS: u32 = 384;

/// Blocks that share a tile of the weight.
const CLUSTER: usize = 2;

/// Shared memory that a block may have on Hopper, in bytes.
const SHARED: usize = 227 << 10;

/// Bytes of staging: eight rows of 64 numbers for each of eight warps.
const STAGING: usize = 8 * 8 * 64 * 4;

/// With fewer rows, most of a tile is empty.
const FEWEST_ROWS: usize = 64;

/// The product `x · Wᵀ` of `kind`, of matrices `[x, W]`, with the epilogues of all its columns, part by part, as one kernel.
/// Returns several kernels that do the same, the best guess first. Formulas read `operands`.
///
/// # Errors
/// If the kernels do not support the GPU, the shapes or the layouts.
pub fn kernels(
    gpu: Gpu,
    kind: MatmulKind,
    [x, weight]: [&View; 2],
    scaling: &Scaling,
    parts: &[PlacedSegment],
    operands: &[View],
) -> Result<Vec<Kernel>, Unsupported> {
    let (Some([rows, features, x_stride]), Some([columns, _, weight_stride])) = (x.rows(), weight.rows())
    else {
        return Err(Unsupported("rows of a matrix are not evenly spaced".into()));
    };
    if rows < FEWEST_ROWS {
        return Err(Unsupported("there are too few rows".into()));
    }
    let matrix = |view: &View, rows: usize, stride: usize| View {
        shape: vec![1, 1, rows, features],
        strides: vec![0, 0, stride, 1],
        ..view.clone()
    };
    let product = Tiled {
        kind,
        rows,
        columns,
        row_tiles: rows.div_ceil(TILE_ROWS),
        x: matrix(x, rows, x_stride),
        x_tile: [1, 1, TILE_ROWS],
        weight: matrix(weight, columns, weight_stride),
        weight_axis: 2,
        text: format!("#define FEATURES {features}\n{ROWS}"),
    };
    product.kernels(gpu, scaling, parts, operands)
}

/// The convolution of `x` `[batch, height, width, in]` with `weight` `[out, kernel, kernel, in]`, and its epilogue:
/// the result is `[batch, height, width, out]`. Returns several kernels, like [`kernels`].
///
/// # Errors
/// If the kernels do not support the GPU, the shapes or the layouts.
pub fn convolution(
    gpu: Gpu,
    [x, weight]: [&View; 2],
    padding: usize,
    scaling: &Scaling,
    y: PlacedSegment,
) -> Result<Vec<Kernel>, Unsupported> {
    let &[batch, height, width, columns] = &y.target.shape[..] else {
        return Err(Unsupported("a picture must have four axes".into()));
    };
    let (channels, kernel) = (x.shape[3], weight.shape[1]);
    let places = kernel * kernel;
    let Some(weight) = weight.reshape(&[1, columns, places, channels]) else {
        return Err(Unsupported("the weight is not contiguous".into()));
    };
    let [tile_height, tile_width] = tile_pixels(height, width);
    let text = format!(
        "#define BATCH {batch}\n#define HEIGHT {height}\n#define WIDTH {width}\n#define CHANNELS {channels}\n\
         #define KERNEL {kernel}\n#define PADDING {padding}\n\
         #define TILE_HEIGHT {tile_height}\n#define TILE_WIDTH {tile_width}\n{PIXELS}"
    );
    let product = Tiled {
        kind: MatmulKind::Bf16,
        rows: batch * height * width,
        columns,
        row_tiles: batch * height.div_ceil(tile_height) * width.div_ceil(tile_width),
        x: x.clone(),
        x_tile: [1, tile_height, tile_width],
        weight,
        weight_axis: 1,
        text,
    };
    product.kernels(gpu, scaling, &[y], &[])
}

/// A product in the terms of the kernel.
struct Tiled {
    kind: MatmulKind,
    rows: usize,
    columns: usize,
    /// The number of tiles along the rows.
    row_tiles: usize,
    /// With four axes, as TMA fetches it.
    x: View,
    x_tile: [usize; 3],
    /// With four axes.
    weight: View,
    /// The axis of the weight that is the product's columns.
    weight_axis: usize,
    /// The part of the source that says how to fetch x and the weight.
    text: String,
}

impl Tiled {
    fn kernels(
        &self,
        gpu: Gpu,
        scaling: &Scaling,
        parts: &[PlacedSegment],
        operands: &[View],
    ) -> Result<Vec<Kernel>, Unsupported> {
        /// Smaller products, in FLOP, are not tuned.
        const LEAST_CHOICE: usize = 8_000_000_000;
        if !gpu.is_hopper() {
            return Err(Unsupported("the kernel requires sm_90a".into()));
        }
        let clusters = gpu.processors as usize / CLUSTER;
        let mut widths = tile_columns(self.row_tiles.div_ceil(CLUSTER), self.columns, clusters);
        if 2 * self.rows * self.weight.shape.iter().product::<usize>() < LEAST_CHOICE {
            widths.truncate(1);
        }
        let epilogue = epilogue(parts, scaling, operands)?;
        widths.into_iter().map(|width| self.kernel(clusters, width, &epilogue)).collect()
    }

    /// The kernel with tiles of this many columns.
    fn kernel(&self, clusters: usize, width: usize, epilogue: &Epilogue) -> Result<Kernel, Unsupported> {
        let Self { kind, rows, columns, ref text, .. } = *self;
        let row_tiles = self.row_tiles.div_ceil(CLUSTER);
        let mut weight_tile = [1; 3];
        weight_tile[self.weight_axis] = width / CLUSTER;
        let maps = vec![TensorMap::of(&self.x, &self.x_tile)?, TensorMap::of(&self.weight, &weight_tile)?];
        // TMA writes to multiples of 1024 bytes; each stage has two barriers.
        let stage = (TILE_ROWS + width) * TILE_BYTES + 16;
        let stages = (SHARED - 1024 - STAGING) / stage;
        let text = format!(
            "{HOPPER}\n#define ELEMENT_BYTES {}\n#define ROWS {rows}\n#define COLUMNS {columns}\n\
             #define TILE_ROWS {TILE_ROWS}\n#define TILE_COLUMNS {width}\n#define CLUSTER {CLUSTER}\n\
             #define STAGES {stages}\n#define PARAMETERS {}\n#define ARGUMENTS {}\n{text}{}{}{GEMM}",
            self.x.dtype.bytes(),
            epilogue.parameters,
            epilogue.arguments,
            epilogue.text,
            multiply(kind, width)
        );
        Ok(Kernel {
            name: "gemm".into(),
            text,
            grid: [((row_tiles * columns.div_ceil(width)).min(clusters) * CLUSTER) as u32, 1, 1],
            block: THREADS,
            shared: (1024 + stages * stage + STAGING) as u32,
            maps,
            pointers: epilogue.pointers.clone(),
        })
    }
}

/// The tile widths expected to be fastest for a product with `row_tiles` tiles along its rows, counted by cluster, the best
/// guess first. Wide tiles read less; narrow ones leave fewer clusters idle in the last round.
fn tile_columns(row_tiles: usize, columns: usize, clusters: usize) -> Vec<usize> {
    /// The fixed cost of a tile, in columns. With this value, the estimate picks the widths that were measured fastest for
    /// transformers of 3072 features (FLUX.1-dev) on an H100.
    const START: usize = 48;
    /// At most this many are measured, and only those expected to take at most an eighth longer than the best guess.
    const CHOICES: usize = 3;
    const DOUBT: usize = 8;
    let time = |width: &usize| (row_tiles * columns.div_ceil(*width)).div_ceil(clusters) * (width + START);
    let mut widths: Vec<usize> = (96..=256).rev().step_by(16).collect();
    widths.sort_by_key(time);
    let least = time(&widths[0]);
    widths.retain(|width| time(width) <= least + least / DOUBT);
    widths.truncate(CHOICES);
    widths
}

/// Height and width of the tiles that cover a picture with the fewest, the widest of these.
fn tile_pixels(height: usize, width: usize) -> [usize; 2] {
    let tiles =
        |[tile_height, tile_width]: &[usize; 2]| height.div_ceil(*tile_height) * width.div_ceil(*tile_width);
    let shapes = [128, 64, 32, 16, 8].map(|tile_width| [TILE_ROWS / tile_width, tile_width]);
    shapes.into_iter().min_by_key(tiles).expect("there are some")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an H100, which has 66 clusters of two.
    #[test]
    fn tiles_leave_few_clusters_without_work() {
        assert_eq!(tile_columns(16, 12288, 66)[0], 256);
        assert_eq!(tile_columns(18, 3072, 66), [224, 176, 240]);
        assert_eq!(tile_columns(2, 3072, 66), [96, 112]);
        assert_eq!(tile_columns(2, 9216, 66)[0], 144);
    }

    #[test]
    fn tiles_fit_the_picture() {
        assert_eq!(tile_pixels(1024, 1024), [1, 128]);
        assert_eq!(tile_pixels(80, 152), [16, 8]);
        assert_eq!(tile_pixels(12, 20), [4, 32]);
    }
}
