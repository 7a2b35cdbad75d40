//! The attention kernels, generated for given shapes and strides: one for Hopper, and a portable one for older GPUs, narrow
//! heads, masks and biases.

use super::Gpu;
use super::matmul::MatmulKind;
use super::source::Kernel;
use super::tensor_map::{TILE_BYTES, TensorMap};
use super::unsupported::Unsupported;
use super::view::{Pointer, View};
use super::wgmma::multiply;
use reflux_ir::DType;
use reflux_ir::op::Attention;
use std::fmt::Write;

const PORTABLE: &str = concat!(include_str!("kernels/basics.cuh"), include_str!("kernels/attention.cuh"));
const HOPPER: &str = concat!(
    include_str!("kernels/basics.cuh"),
    include_str!("kernels/hopper.cuh"),
    include_str!("kernels/attention_sm90.cuh")
);

/// The head widths that the kernels support; Hopper's supports only the first.
const DIMS: [usize; 2] = [128, 64];

/// Queries per block.
const QUERIES: usize = 128;

/// What Hopper's kernel fetches of keys and of values.
struct Tiles {
    /// Keys per pass.
    keys: usize,
    /// How many passes are in shared memory at a time.
    stages: usize,
}

/// On an H100 at 4608 tokens, the times for 128 to 192 keys are within 10 % of each other.
const OF_NUMBERS: Tiles = Tiles { keys: 144, stages: 2 };

/// Codes are half as wide. On an H200 at 4608 tokens, 144 keys in two stages take 1 % more.
const OF_CODES: Tiles = Tiles { keys: 128, stages: 3 };

/// Whether `q` has a single head of a width that no kernel here supports.
pub fn is_single_head(q: &View) -> bool {
    q.shape[2] == 1 && !DIMS.contains(&q.shape[3])
}

/// Whether there is a kernel for `op` over `operands` that takes queries and keys as codes. Others take their numbers.
pub fn takes_codes(gpu: Gpu, op: &Attention, operands: &[View]) -> bool {
    gpu.is_hopper() && operands[0].shape[3] == DIMS[0] && !op.causal && op.bias(operands).is_none()
}

/// `op` over its operands, of which q, k and v are each `[batch, tokens, heads, dim]`, to `out`; a bias is
/// `[batch, heads, queries, keys]`, or has one batch for all, with contiguous keys. If q and k are codes, `scales` are theirs,
/// `[batch, tokens, heads]`.
///
/// # Errors
/// If no kernel takes operands like these; of codes, none does but where [`takes_codes`].
pub fn kernel(
    gpu: Gpu,
    op: &Attention,
    operands: &[View],
    scales: &[View],
    out: &View,
) -> Result<Kernel, Unsupported> {
    let [q, k, v] = [0, 1, 2].map(|index| &operands[index]);
    let (bias, bound) = (op.bias(operands), op.bound(operands));
    let dim = q.shape[3];
    let is_taken = |view: &View| {
        let is_aligned = view.strides[..3].iter().chain([&view.offset]).all(|count| count.is_multiple_of(8));
        view.shape[3] == dim && view.strides[3] == 1 && is_aligned
    };
    let is_bf16 = |view: &View| view.dtype == DType::BF16;
    let dtypes_fit = is_bf16(v) && is_bf16(out) && (scales.len() == 2 || is_bf16(q) && is_bf16(k));
    if !DIMS.contains(&dim) || !dtypes_fit || ![q, k, v, out].into_iter().all(is_taken) || op.scale.0 <= 0.0 {
        return Err(Unsupported("there are only kernels for attention with bf16 heads of 64 or 128".into()));
    }
    if bias.is_some_and(|bias| bias.dtype != DType::BF16 || bias.strides[3] != 1) {
        return Err(Unsupported("its bias is not bf16 with contiguous keys".into()));
    }
    if gpu.is_hopper() && dim == DIMS[0] && !op.causal && bias.is_none() {
        hopper(gpu, op, [q, k, v], scales, bound, out)
    } else {
        portable(op, [q, k, v], bias, out)
    }
}

/// The definitions that both kernels need: the numbers of queries and keys, the scale to the base 2, and the strides of
/// `views`.
fn constants(op: &Attention, queries: usize, keys: usize, views: &[(&str, &View)]) -> String {
    let scale = op.scale.0 * std::f64::consts::LOG2_E;
    let mut text =
        format!("#define QUERIES_TOTAL {queries}\n#define KEYS_TOTAL {keys}\n#define SCALE_LOG2 {scale:?}\n");
    for (name, view) in views {
        for (axis, stride) in ["BATCH", "TOKEN", "HEAD"].iter().zip(&view.strides) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "#define {name}_{axis} {stride}");
        }
    }
    text
}

fn portable(
    op: &Attention,
    [q, k, v]: [&View; 3],
    bias: Option<&View>,
    out: &View,
) -> Result<Kernel, Unsupported> {
    /// Keys per pass, and threads.
    const KEYS: usize = 64;
    const THREADS: u32 = 256;
    let [batch, queries, heads, dim] = [0, 1, 2, 3].map(|axis| q.shape[axis]);
    // Axes in the same order as the others; an axis of extent 1 is broadcast.
    let bias = bias.map(|bias| {
        let bias = bias.permuted(&[0, 2, 1, 3]);
        View { strides: bias.broadcast(&[batch, queries, heads, k.shape[1]]), ..bias }
    });
    let (is_causal, has_bias) = (u8::from(op.causal), u8::from(bias.is_some()));
    let places = [("Q", q), ("K", k), ("V", v), ("O", out)].into_iter();
    let places: Vec<_> = places.chain(bias.as_ref().map(|bias| ("BIAS", bias))).collect();
    let text = format!(
        "#define DIM {dim}\n#define IS_CAUSAL {is_causal}\n#define HAS_BIAS {has_bias}\n{}{PORTABLE}",
        constants(op, queries, k.shape[1], &places)
    );
    let count = |number: usize| u32::try_from(number).map_err(|error| Unsupported(error.to_string()));
    Ok(Kernel {
        name: "attention".into(),
        text,
        grid: [count(queries.div_ceil(QUERIES))?, count(heads)?, count(batch)?],
        block: THREADS,
        shared: ((QUERIES + 4 * KEYS) * dim * 2) as u32,
        maps: Vec::new(),
        pointers: [q, k, v, out].into_iter().chain(&bias).map(Pointer::to).collect(),
    })
}

/// See `attention_sm90.cuh`. Whether the scores' `bound` is small enough to do without their maximum is asked when it runs.
fn hopper(
    gpu: Gpu,
    op: &Attention,
    [q, k, v]: [&View; 3],
    scales: &[View],
    bound: Option<&View>,
    out: &View,
) -> Result<Kernel, Unsupported> {
    const THREADS: u32 = 384;
    let (kind, codes) = match q.dtype {
        DType::F8E4M3 => (MatmulKind::F8, 1),
        DType::I8 => (MatmulKind::I8, 2),
        _ => (MatmulKind::Bf16, 0),
    };
    let Tiles { keys, stages } = if codes > 0 { OF_CODES } else { OF_NUMBERS };
    let [batch, queries, heads] = [0, 1, 2].map(|axis| q.shape[axis]);
    let places: Vec<_> = [("O", out)].into_iter().chain(["QS", "KS"].into_iter().zip(scales)).collect();
    let text = format!(
        "#define CODES {codes}\n#define KEYS {keys}\n#define K_STAGES {stages}\n#define V_STAGES {stages}\n#define HEADS {heads}\n\
         #define BATCHES {batch}\n#define HAS_BOUND {}\n{}{}{HOPPER}",
        u8::from(bound.is_some()),
        constants(op, queries, k.shape[1], &places),
        multiply("multiply", kind, keys)
    );
    // In bytes. Beside values of which there are codes there is a box of ones; TMA writes to multiples of 1024 bytes.
    let row = DIMS[0] * q.dtype.bytes();
    let stage = keys * (row + DIMS[0] * 2) + if codes > 0 { keys * (TILE_BYTES + 4) + 16 } else { 0 };
    let map = |view: &View, rows: usize| TensorMap::of(view, &[1, rows, 1]);
    // Blocks are persistent: each computes one tile after the other.
    let tiles = queries.div_ceil(QUERIES) * heads * batch;
    Ok(Kernel {
        name: "attention".into(),
        text,
        grid: [tiles.min(gpu.processors as usize) as u32, 1, 1],
        block: THREADS,
        // Queries, stages of keys and of values, and barriers.
        shared: (1024 + QUERIES * row + stages * stage + 128) as u32,
        maps: vec![map(q, QUERIES)?, map(k, keys)?, map(v, keys)?],
        pointers: [out].into_iter().chain(bound).chain(scales).map(Pointer::to).collect(),
    })
}
