//! Products on Hopper's tensor cores, with the epilogue in the same kernel.

use super::Gpu;
use super::added::{Added, AddedProduct};
use super::matmul::MatmulKind;
use super::source::{Epilogue, Kernel, PlacedSegment, Scaling, epilogue};
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::unsupported::Unsupported;
use super::view::View;
use super::wgmma::{Left, multiply, sum_type};

const HOPPER: &str = include_str!("kernels/hopper.cuh");
const STAGES: &str = include_str!("kernels/gemm_stages.cuh");
const GEMM: &str = include_str!("kernels/gemm_sm90.cuh");
const NARROW: &str = include_str!("kernels/gemm_narrow_sm90.cuh");
const ROWS: &str = include_str!("kernels/gemm_rows.cuh");
const PIXELS: &str = include_str!("kernels/gemm_pixels.cuh");

/// Rows of a tile, and threads: one warpgroup fetches, two compute 64 rows each.
const TILE_ROWS: usize = 128;
const THREADS: u32 = 384;

/// Blocks that share a tile of the weight.
const CLUSTER: usize = 2;

/// Shared memory that a block may have on Hopper, in bytes.
const SHARED: usize = 227 << 10;

/// Rows of a tile of a product of few columns.
const NARROW_ROWS: usize = 64;

/// Bytes of staging: eight rows of 64 numbers for each of eight warps.
const STAGING: usize = 8 * 8 * 64 * 4;

/// With fewer rows, most of a tile is empty.
const FEWEST_ROWS: usize = 64;

/// The product `x · Wᵀ` of `kind`, of matrices `[x, W]`, plus those that are `added` to it, with the epilogues of all its
/// columns, part by part, as one kernel. Returns several kernels that do the same, the best guess first. Formulas read
/// `operands`.
///
/// # Errors
/// If the kernels do not support the GPU, the shapes or the layouts.
pub fn kernels(
    gpu: Gpu,
    kind: MatmulKind,
    [x, weight]: [&View; 2],
    scaling: &Scaling,
    added: &[AddedProduct],
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
    product.kernels(gpu, scaling, added, parts, operands)
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
    product.kernels(gpu, scaling, &[], &[y], &[])
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
        added: &[AddedProduct],
        parts: &[PlacedSegment],
        operands: &[View],
    ) -> Result<Vec<Kernel>, Unsupported> {
        /// Smaller products, in FLOP, are not tuned.
        const LEAST_CHOICE: usize = 8_000_000_000;
        self.kind.check([&self.x, &self.weight])?;
        if !gpu.is_hopper() {
            return Err(Unsupported("the kernel requires sm_90a".into()));
        }
        if self.is_narrow() && added.is_empty() {
            let epilogue = epilogue(parts, scaling, operands)?;
            return self
                .divisions(gpu)
                .into_iter()
                .map(|division| self.narrow(division, &epilogue))
                .collect();
        }
        let clusters = gpu.processors as usize / CLUSTER;
        let edges: Vec<usize> =
            added.iter().flat_map(|product| [product.columns.start, product.columns.end]).collect();
        let mut widths = tile_columns(self.row_tiles.div_ceil(CLUSTER), self.columns, clusters, &edges);
        if 2 * self.rows * self.weight.shape.iter().product::<usize>() < LEAST_CHOICE {
            widths.truncate(1);
        }
        if widths.is_empty() {
            return Err(Unsupported("no tile is within the columns to which a product is added".into()));
        }
        // Sums of several products are in the same units before the epilogue.
        let (own, rest) =
            if added.is_empty() { (Scaling::default(), scaling.clone()) } else { scaling.split() };
        let epilogue = epilogue(parts, &rest, operands)?;
        let kernel = |width| {
            let added = Added::new(added, &own, [self.rows, self.columns], [TILE_ROWS, width, CLUSTER])?;
            self.kernel(clusters, width, &added, &epilogue)
        };
        widths.into_iter().map(kernel).collect()
    }

    /// Whether all columns are one tile of a product of matrices.
    fn is_narrow(&self) -> bool {
        const MOST_COLUMNS: usize = 128;
        self.columns <= MOST_COLUMNS && self.weight_axis == 2
    }

    /// How the steps of a product of few columns may be divided among blocks, the best guess first.
    fn divisions(&self, gpu: Gpu) -> Vec<Division> {
        const LEAST_STEPS: usize = 4;
        /// With fewer, a block waits for memory.
        const LEAST_STAGES: usize = 3;
        let tiles = self.rows.div_ceil(NARROW_ROWS);
        let is_enough = |split: usize| self.steps() >= split * LEAST_STEPS;
        let fits = |&Division { split, blocks }: &Division| {
            tiles * split <= blocks * gpu.processors as usize && is_enough(split)
        };
        // Two blocks of an SM, which fetch at the same time, are the guess.
        let of_two = [8, 4, 2].map(|split| Division { split, blocks: 2 }).into_iter().find(fits);
        let guess = of_two.unwrap_or(Division { split: 1, blocks: 2 });
        // Sums of floats in another order are other numbers, and which kernel was the fastest must not be seen in them.
        let is_exact = self.kind == MatmulKind::I8;
        let others = [(4, 3), (4, 4), (8, 5)].map(|(split, blocks)| Division { split, blocks });
        let is_other = |other: &Division| {
            is_exact && other.split > guess.split && self.narrow_stages(*other) >= LEAST_STAGES
        };
        std::iter::once(guess).chain(others.into_iter().filter(fits).filter(is_other)).collect()
    }

    /// The stages that a block of `division` has room for.
    fn narrow_stages(&self, division: Division) -> usize {
        /// What the blocks of an SM share.
        const SHARED: usize = 224 << 10;
        (SHARED / division.blocks - 1024) / self.narrow_stage_bytes()
    }

    /// The size of a stage of a product of few columns, with its two barriers.
    fn narrow_stage_bytes(&self) -> usize {
        (NARROW_ROWS + self.columns.next_multiple_of(16)) * TILE_BYTES + 16
    }

    /// How many stages its sums take.
    fn steps(&self) -> usize {
        (self.x.shape[3] * self.x.dtype.bytes()).div_ceil(TILE_BYTES)
    }

    /// The kernel for few columns: see `gemm_narrow_sm90.cuh`.
    fn narrow(&self, division: Division, epilogue: &Epilogue) -> Result<Kernel, Unsupported> {
        const TILE_ROWS: usize = NARROW_ROWS;
        const THREADS: u32 = 160;
        let Division { split, .. } = division;
        let Self { kind, rows, columns, ref text, .. } = *self;
        let (width, tiles) = (columns.next_multiple_of(16), rows.div_ceil(TILE_ROWS));
        let maps =
            vec![TensorMap::of(&self.x, &[1, 1, TILE_ROWS])?, TensorMap::of(&self.weight, &[1, 1, width])?];
        let stage = self.narrow_stage_bytes();
        let stages = self.narrow_stages(division).min(self.steps().div_ceil(split).max(2));
        // The sums of a tile go where stages were.
        let shared = 1024 + (stages * stage).max(TILE_ROWS * width * 4);
        let text = format!(
            "{HOPPER}\n#define ELEMENT_BYTES {}\n#define ROWS {rows}\n#define COLUMNS {columns}\n\
             #define TILE_ROWS {TILE_ROWS}\n#define TILE_COLUMNS {width}\n#define SPLIT {split}\n#define CLUSTER 1\n\
             #define STAGES {stages}\n#define PARAMETERS {}\n#define ARGUMENTS {}\n{text}{}\
             #define SUMS {}\ntypedef {} sum_type;\n{}{STAGES}{NARROW}",
            self.x.dtype.bytes(),
            epilogue.parameters,
            epilogue.arguments,
            epilogue.text,
            width / 2,
            sum_type(kind),
            multiply("multiply", kind, Left::Shared, width),
        );
        Ok(Kernel {
            name: "gemm".into(),
            text,
            grid: [(tiles * split) as u32, 1, 1],
            block: THREADS,
            shared: shared as u32,
            maps,
            pointers: epilogue.pointers.clone(),
        })
    }

    /// The kernel with tiles of this many columns.
    fn kernel(
        &self,
        clusters: usize,
        width: usize,
        added: &Added,
        epilogue: &Epilogue,
    ) -> Result<Kernel, Unsupported> {
        let Self { kind, rows, columns, ref text, .. } = *self;
        let row_tiles = self.row_tiles.div_ceil(CLUSTER);
        let mut weight_tile = [1; 3];
        weight_tile[self.weight_axis] = width / CLUSTER;
        let mut maps =
            vec![TensorMap::of(&self.x, &self.x_tile)?, TensorMap::of(&self.weight, &weight_tile)?];
        maps.extend(added.maps.iter().cloned());
        // TMA writes to multiples of 1024 bytes; each stage has two barriers.
        let stage = (TILE_ROWS + width) * TILE_BYTES + 16;
        let stages = (SHARED - 1024 - STAGING) / stage;
        let text = format!(
            "{HOPPER}\n#define ELEMENT_BYTES {}\n#define ROWS {rows}\n#define COLUMNS {columns}\n\
             #define TILE_ROWS {TILE_ROWS}\n#define TILE_COLUMNS {width}\n#define CLUSTER {CLUSTER}\n\
             #define STAGES {stages}\n#define PARAMETERS {}{}\n#define ARGUMENTS {}\n{text}{}\
             #define SUMS {}\ntypedef {} sum_type;\n{}{STAGES}{}{GEMM}",
            self.x.dtype.bytes(),
            epilogue.parameters,
            added.parameters,
            epilogue.arguments,
            epilogue.text,
            width / 2,
            sum_type(kind),
            multiply("multiply", kind, Left::Shared, width),
            added.text,
        );
        Ok(Kernel {
            name: "gemm".into(),
            text,
            grid: [((row_tiles * columns.div_ceil(width)).min(clusters) * CLUSTER) as u32, 1, 1],
            block: THREADS,
            shared: (1024 + stages * stage + STAGING) as u32,
            maps,
            pointers: epilogue.pointers.iter().chain(&added.pointers).copied().collect(),
        })
    }
}

/// How a product of few columns is divided.
#[derive(Clone, Copy)]
struct Division {
    /// The blocks among which the steps of a tile are divided.
    split: usize,
    /// The blocks that an SM has room for.
    blocks: usize,
}

/// The tile widths expected to be fastest for a product with `row_tiles` tiles along its rows, counted by cluster, the best
/// guess first. Wide tiles read less; narrow ones leave fewer clusters idle in the last round. Tiles do not reach across `edges`.
fn tile_columns(row_tiles: usize, columns: usize, clusters: usize, edges: &[usize]) -> Vec<usize> {
    /// The fixed cost of a tile, in columns. With this value, the estimate picks the widths that were measured fastest for
    /// transformers of 3072 features (FLUX.1-dev) on an H100.
    const START: usize = 48;
    /// At most this many are measured, and only those expected to take at most an eighth longer than the best guess.
    const CHOICES: usize = 3;
    const DOUBT: usize = 8;
    let time = |width: &usize| (row_tiles * columns.div_ceil(*width)).div_ceil(clusters) * (width + START);
    let is_within = |width: &usize| edges.iter().all(|edge| edge.is_multiple_of(*width) || *edge == columns);
    let mut widths: Vec<usize> = (96..=256).rev().step_by(16).filter(is_within).collect();
    widths.sort_by_key(time);
    let least = widths.first().map_or(0, time);
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
        assert_eq!(tile_columns(16, 12288, 66, &[])[0], 256);
        assert_eq!(tile_columns(18, 3072, 66, &[]), [224, 176, 240]);
        assert_eq!(tile_columns(2, 3072, 66, &[]), [96, 112]);
        assert_eq!(tile_columns(2, 9216, 66, &[])[0], 144);
    }

    #[test]
    fn tiles_do_not_reach_across_the_columns_of_what_is_added() {
        for width in tile_columns(18, 9216, 66, &[0, 3072, 3072, 6144, 6144, 9216]) {
            assert_eq!(3072 % width, 0);
        }
        assert_eq!(tile_columns(18, 9216, 66, &[0, 9216]), tile_columns(18, 9216, 66, &[]));
        assert!(tile_columns(18, 9216, 66, &[0, 1000]).is_empty());
    }

    #[test]
    fn tiles_fit_the_picture() {
        assert_eq!(tile_pixels(1024, 1024), [1, 128]);
        assert_eq!(tile_pixels(80, 152), [16, 8]);
        assert_eq!(tile_pixels(12, 20), [4, 32]);
    }
}
