//! The attention kernel, made for the shapes and places at hand.

use super::source::{Kernel, Pointer, Unsupported};
use super::view::View;
use reflux_ir::DType;
use reflux_ir::op::Attention;
use std::fmt::Write;

const TEXT: &str = include_str!("kernels/attention.cuh");

/// What the kernel's text fixes: queries of a block, keys of a pass, elements of a head, threads.
const QUERIES: usize = 128;
const KEYS: usize = 64;
const DIM: usize = 128;
const THREADS: u32 = 256;

/// `op` over `views` of q, k and v, each `[batch, tokens, heads, 128]`, to `out`.
pub fn kernel(op: &Attention, views: &[View], out: &View) -> Result<Kernel, Unsupported> {
    let [q, k, v] = views else { return Err(Unsupported("attention with a bias has no kernel here".into())) };
    let is_taken = |view: &View| {
        let is_aligned = view.strides[1..3].iter().chain([&view.offset]).all(|count| count.is_multiple_of(8));
        view.dtype == DType::BF16 && view.shape[3] == DIM && view.strides[3] == 1 && is_aligned
    };
    if op.causal || ![q, k, v, out].into_iter().all(is_taken) {
        return Err(Unsupported(
            "only attention of bf16 heads of 128, without a mask, has a kernel here".into(),
        ));
    }
    let [batch, queries, heads, _] = q.shape[..] else {
        return Err(Unsupported("this is no attention".into()));
    };
    let mut text = String::new();
    let scale = op.scale.0 * std::f64::consts::LOG2_E;
    let _ = writeln!(
        text,
        "#define QUERIES_TOTAL {queries}\n#define KEYS_TOTAL {}\n#define SCALE_LOG2 {scale:?}",
        k.shape[1]
    );
    for (name, view) in [("Q", q), ("K", k), ("V", v), ("O", out)] {
        let [batch, token, head, _] = view.strides[..] else {
            return Err(Unsupported("this is no attention".into()));
        };
        let _ = writeln!(
            text,
            "#define {name}_BATCH {batch}\n#define {name}_TOKEN {token}\n#define {name}_HEAD {head}"
        );
    }
    text += TEXT;
    let count = |number: usize| u32::try_from(number).map_err(|error| Unsupported(error.to_string()));
    Ok(Kernel {
        name: "attention".into(),
        text,
        grid: [count(queries.div_ceil(QUERIES))?, count(heads)?, count(batch)?],
        block: THREADS,
        shared: ((QUERIES + 4 * KEYS) * DIM * 2) as u32,
        pointers: [q, k, v, out].map(Pointer::to).to_vec(),
    })
}
