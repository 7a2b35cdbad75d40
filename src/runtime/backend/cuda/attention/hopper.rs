//! The kernel for Hopper: see `attention_sm90.cuh`.

use super::{DIMS, QUERIES, constants};
use crate::backend::cuda::Gpu;
use crate::backend::cuda::matmul::MatmulKind;
use crate::backend::cuda::source::Kernel;
use crate::backend::cuda::tensor_map::{TILE_BYTES, TensorMap};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use crate::backend::cuda::wgmma::{Left, multiply};
use reflux_ir::DType;
use reflux_ir::op::Attention;

const TEXT: &str = concat!(
    include_str!("../kernels/basics.cuh"),
    include_str!("../kernels/hopper.cuh"),
    include_str!("../kernels/attention_tiles.cuh"),
    include_str!("../kernels/attention_products.cuh"),
    include_str!("../kernels/attention_weights.cuh"),
    include_str!("../kernels/attention_pieces.cuh"),
    include_str!("../kernels/attention_sm90.cuh")
);

/// Keys per pass. On an H200 at 4608 tokens, the times for 128 to 176 keys are within 4 % of each other.
const KEYS: usize = 128;

/// How many passes' keys and values are in shared memory at a time. Codes are half as wide as numbers.
const STAGES_OF_NUMBERS: usize = 2;
const STAGES_OF_CODES: usize = 3;

/// Whether this kernel computes `op` over `operands`, of numbers or of codes, if they lie well.
pub fn is_taken(gpu: Gpu, op: &Attention, operands: &[View]) -> bool {
    gpu.is_hopper() && operands[0].shape[3] == DIMS[0] && !op.causal && op.bias(operands).is_none()
}

/// How the kernel is divided among blocks: see `attention_pieces.cuh`.
struct Division {
    /// Blocks of a cluster, which have queries of the same head.
    cluster: usize,
    clusters: usize,
    /// Whether units are divided into pieces.
    has_pieces: bool,
}

impl Division {
    fn of(gpu: Gpu, q: &View) -> Self {
        /// With fewer tiles of queries, it matters that of an odd number one block has none.
        const MANY: usize = 8;
        /// Units are divided if otherwise more than one part in so many of the time is spent waiting for the last ones. Where it is
        /// less, dividing them gains nothing: what waits takes no power, and power is what limits the others.
        const LEAST_WAITING: usize = 10;
        let tiles = q.shape[1].div_ceil(QUERIES);
        let is_shared = gpu.processors > 1 && (tiles >= MANY || tiles.is_multiple_of(2));
        let cluster = if is_shared { 2 } else { 1 };
        let units = tiles.div_ceil(cluster) * q.shape[2] * q.shape[0];
        let clusters = units.min(gpu.processors as usize / cluster);
        let places = units.div_ceil(clusters) * clusters;
        Self { cluster, clusters, has_pieces: (places - units) * LEAST_WAITING > places }
    }

    fn blocks(&self) -> usize {
        self.cluster * self.clusters
    }
}

/// Memory in which blocks of Hopper's kernel hand on sums, and by which they say that they have.
pub struct Handover {
    /// f32, written before they are read.
    pub partials: View,
    /// Words that are zero before a kernel and after it.
    pub signals: View,
}

impl Handover {
    /// How many numbers and words of it the kernel for `op` over `operands` needs, if any.
    pub fn needed(gpu: Gpu, op: &Attention, operands: &[View]) -> Option<[usize; 2]> {
        /// Numbers that a warp hands on: at most 68 sums, two totals and two bases of each thread.
        const OF_WARP: usize = (68 + 4) * 32;
        const WARPS: usize = 8;
        let division = is_taken(gpu, op, operands).then(|| Division::of(gpu, &operands[0]))?;
        let warps = division.blocks() * WARPS;
        division.has_pieces.then_some([warps * OF_WARP, warps])
    }
}

/// See `attention_sm90.cuh`. Units are divided if there is memory for that. Whether the scores' `bound` is small enough to do without their maximum is asked when it runs.
pub fn kernel(
    gpu: Gpu,
    op: &Attention,
    [q, k, v]: [&View; 3],
    scales: &[View],
    bound: Option<&View>,
    handover: Option<&Handover>,
    out: &View,
) -> Result<Kernel, Unsupported> {
    const THREADS: u32 = 384;
    let (kind, codes) = match q.dtype {
        DType::F8E4M3 => (MatmulKind::F8, 1),
        DType::I8 => (MatmulKind::I8, 2),
        _ => (MatmulKind::Bf16, 0),
    };
    let stages = if codes > 0 { STAGES_OF_CODES } else { STAGES_OF_NUMBERS };
    let division = Division::of(gpu, q);
    let Division { cluster, clusters, .. } = division;
    let [batch, queries, heads] = [0, 1, 2].map(|axis| q.shape[axis]);
    let places: Vec<_> = [("O", out)].into_iter().chain(["QS", "KS"].into_iter().zip(scales)).collect();
    let text = format!(
        "#define CODES {codes}\n#define KEYS {KEYS}\n#define K_STAGES {stages}\n#define V_STAGES {stages}\n#define CLUSTER {cluster}\n\
         #define CLUSTERS {clusters}\n#define IS_DIVIDED {}\n#define HEADS {heads}\n#define BATCHES {batch}\n#define HAS_BOUND {}\n{}{}{TEXT}",
        u8::from(handover.is_some()),
        u8::from(bound.is_some()),
        constants(op, queries, k.shape[1], &places),
        multiply("multiply", kind, Left::Registers, KEYS)
    );
    // In bytes. Beside values of which there are codes there is a box of ones; TMA writes to multiples of 1024 bytes.
    let row = DIMS[0] * q.dtype.bytes();
    let stage = KEYS * (row + DIMS[0] * 2) + if codes > 0 { KEYS * (TILE_BYTES + 4) + 16 } else { 0 };
    let map = |view: &View, rows: usize| TensorMap::of(view, &[1, rows, 1]);
    let handed_on = handover.into_iter().flat_map(|Handover { partials, signals }| [partials, signals]);
    Ok(Kernel {
        name: "attention".into(),
        text,
        grid: [division.blocks() as u32, 1, 1],
        block: THREADS,
        // Queries, stages of keys and of values, and barriers.
        shared: (1024 + QUERIES * row + stages * stage + 128) as u32,
        maps: vec![map(q, QUERIES)?, map(k, KEYS / cluster)?, map(v, KEYS / cluster)?],
        pointers: [out].into_iter().chain(bound).chain(scales).chain(handed_on).map(Pointer::to).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an H200: FLUX.1-dev at 1024², at 512², its heads divided between two devices, and a single unit.
    #[test]
    fn units_are_divided_where_many_blocks_would_wait_for_few() {
        let gpu = Gpu { capability: (9, 0), processors: 132, rank: 0 };
        let on = |gpu: Gpu, tokens: usize, heads: usize| {
            let Division { cluster, clusters, has_pieces } =
                Division::of(gpu, &View::whole(0, &[1, tokens, heads, 128], DType::BF16));
            (cluster, clusters, has_pieces)
        };
        let division = |tokens: usize, heads: usize| on(gpu, tokens, heads);
        assert_eq!(division(4608, 24), (2, 66, false));
        assert_eq!(division(1536, 24), (2, 66, true));
        assert_eq!(division(4608, 12), (2, 66, true));
        assert_eq!(division(300, 2), (1, 6, false));
        assert_eq!(division(1, 1), (1, 1, false));
        assert_eq!(on(Gpu { processors: 1, ..gpu }, 4608, 24), (1, 1, false));
    }
}
