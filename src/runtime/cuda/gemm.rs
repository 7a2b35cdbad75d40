//! Products on Hopper's tensor cores, with all that is done to their elements in the same kernel.

use super::Gpu;
use super::plan::MatmulKind;
use super::source::{Kernel, Part, Scaling, Unsupported, finish};
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::view::View;
use super::wgmma::multiply;

const TEXT: &str = concat!(include_str!("kernels/hopper.cuh"), include_str!("kernels/gemm_sm90.cuh"));

/// Rows of a tile, and threads: a warpgroup that fetches, two that compute 64 rows each.
const TILE_ROWS: usize = 128;
const THREADS: u32 = 384;

/// Blocks that share a tile of the weight.
const CLUSTER: usize = 2;

/// Shared memory that a block may have on Hopper, in bytes.
const SHARED: usize = 227 << 10;

/// Staging of eight warps: 16 rows of 36 numbers each.
const STAGING: usize = 8 * 16 * 36 * 4;

/// With fewer rows most of a tile is empty.
const FEWEST_ROWS: usize = 64;

/// The product `x · Wᵀ` of `kind`, of matrices `[x, W]`, and all that becomes of its columns, part by part, as one kernel.
/// Formulas read `operands`.
///
/// # Errors
/// If the GPU, the shapes or the places are not what it is for.
pub fn kernel(
    gpu: Gpu,
    kind: MatmulKind,
    [x, weight]: [&View; 2],
    scaling: &Scaling,
    parts: &[Part],
    operands: &[View],
) -> Result<Kernel, Unsupported> {
    let unsupported = |why: &str| Err(Unsupported(why.into()));
    if !gpu.is_hopper() {
        return unsupported("the kernel is for sm_90a");
    }
    let ([rows, features, x_stride], Some([columns, _, weight_stride])) =
        (x.rows().ok_or_else(|| Unsupported("rows are at several distances".into()))?, weight.rows())
    else {
        return unsupported("rows of the weight are at several distances");
    };
    if rows < FEWEST_ROWS {
        return unsupported("there are too few rows");
    }
    let clusters = gpu.processors as usize / CLUSTER;
    let width = tile_columns(rows, columns, clusters);
    let matrix = |view: &View, rows: usize, stride: usize| View {
        shape: vec![rows, features],
        strides: vec![stride, 1],
        ..view.clone()
    };
    let maps = vec![
        TensorMap::of(&matrix(x, rows, x_stride), &[TILE_ROWS])?,
        TensorMap::of(&matrix(weight, columns, weight_stride), &[width / CLUSTER])?,
    ];
    let finish = finish(parts, scaling, operands)?;
    // What is fetched lies at a multiple of 1024 bytes; each stage has two barriers.
    let stage = (TILE_ROWS + width) * TILE_BYTES + 16;
    let stages = (SHARED - 1024 - STAGING) / stage;
    let text = format!(
        "#define ELEMENT_BYTES {}\n#define ROWS {rows}\n#define COLUMNS {columns}\n\
         #define FEATURES {features}\n#define TILE_ROWS {TILE_ROWS}\n#define TILE_COLUMNS {width}\n#define CLUSTER {CLUSTER}\n\
         #define STAGES {stages}\n#define PARAMETERS {}\n#define ARGUMENTS {}\n{}{}{TEXT}",
        x.dtype.bytes(),
        finish.parameters,
        finish.arguments,
        finish.text,
        multiply(kind, width)
    );
    Ok(Kernel {
        name: "gemm".into(),
        text,
        grid: [(tiles(rows, columns, width).min(clusters) * CLUSTER) as u32, 1, 1],
        block: THREADS,
        shared: (1024 + stages * stage + STAGING) as u32,
        maps,
        pointers: finish.pointers,
    })
}

/// How many tiles a product of this size has, a cluster's counted as one.
fn tiles(rows: usize, columns: usize, width: usize) -> usize {
    rows.div_ceil(TILE_ROWS * CLUSTER) * columns.div_ceil(width)
}

/// The width of tiles with which a product of this size takes least: wide ones read less, narrow ones leave fewer clusters
/// without work in the last round.
fn tile_columns(rows: usize, columns: usize, clusters: usize) -> usize {
    /// What a tile takes besides its columns, in columns.
    const START: usize = 48;
    let time = |width: &usize| tiles(rows, columns, *width).div_ceil(clusters) * (width + START);
    [256, 192, 128].into_iter().min_by_key(time).expect("there are some")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an H100, whose clusters of two are 66.
    #[test]
    fn tiles_leave_few_clusters_without_work() {
        assert_eq!(tile_columns(4096, 12288, 66), 256);
        assert_eq!(tile_columns(512, 3072, 66), 128);
        assert_eq!(tile_columns(512, 9216, 66), 192);
    }
}
