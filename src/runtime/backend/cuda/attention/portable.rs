//! The kernel for any GPU: see `attention.cuh`.

use super::{QUERIES, constants};
use crate::backend::cuda::source::Kernel;
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::Attention;

const TEXT: &str = concat!(include_str!("../kernels/basics.cuh"), include_str!("../kernels/attention.cuh"));

pub fn kernel(
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
        "#define DIM {dim}\n#define IS_CAUSAL {is_causal}\n#define HAS_BIAS {has_bias}\n{}{TEXT}",
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
