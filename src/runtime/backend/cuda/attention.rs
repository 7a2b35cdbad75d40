//! The attention kernels, generated for given shapes and strides: one for Hopper, and a portable one for older GPUs, narrow
//! heads, masks and biases.

mod hopper;
mod portable;

pub use hopper::{Handover, is_taken as takes_codes};

use super::Gpu;
use super::source::Kernel;
use super::unsupported::Unsupported;
use super::view::View;
use reflux_ir::DType;
use reflux_ir::op::Attention;
use std::fmt::Write;

/// The head widths that the kernels support; Hopper's supports only the first.
const DIMS: [usize; 2] = [128, 64];

/// Queries per block.
const QUERIES: usize = 128;

/// Whether `q` has a single head of a width that no kernel here supports.
pub fn is_single_head(q: &View) -> bool {
    q.shape[2] == 1 && !DIMS.contains(&q.shape[3])
}

/// `op` over its operands, of which q, k and v are each `[batch, tokens, heads, dim]`, to `out`; a bias is
/// `[batch, heads, queries, keys]`, or has one batch for all, with contiguous keys. If q and k are codes, `scales` are theirs,
/// `[batch, tokens, heads]`. Its blocks work in `handover`, if that is [`needed`](Handover::needed).
///
/// # Errors
/// If no kernel takes operands like these; of codes, none does but where [`takes_codes`].
pub fn kernel(
    gpu: Gpu,
    op: &Attention,
    operands: &[View],
    scales: &[View],
    handover: Option<&Handover>,
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
    if hopper::is_taken(gpu, op, operands) {
        hopper::kernel(gpu, op, [q, k, v], scales, bound, handover, out)
    } else {
        portable::kernel(op, [q, k, v], bias, out)
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
