//! Attention composed of burn's matmuls and softmax.

use super::{extents, with_rank};
use crate::RunError;
use crate::backend::BurnBackend;
use crate::value::{Value, float_dtype};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Slice, TensorData, TensorMetadata};
use reflux_ir::op::{Attention, ScoreBound};
use reflux_ir::{DType, Fact, HostTensor};

/// The most bytes of f32 scores to hold at once; heads are computed in groups that fit.
const SCORE_BYTES: usize = 1 << 30;

/// See [`Attention`]. Scores and softmax are f32 whatever the dtype; the weights are rounded to the dtype before they
/// multiply `v`.
pub fn composed<B: BurnBackend>(
    op: &Attention,
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let shape = extents::<B>(&q);
    let [batch, queries, heads] = [shape[0], shape[1], shape[2]];
    let keys = extents::<B>(&k)[1];
    let [q, k, v] = [q, k, v].map(|x| B::float_permute(x, &[0, 2, 1, 3]));
    let bias = bias.map(|bias| with_rank::<B>(bias, 4));
    let group = (SCORE_BYTES / (4 * batch * queries * keys).max(1)).clamp(1, heads);
    let parts: Vec<_> = (0..heads)
        .step_by(group)
        .map(|start| {
            let range = start..(start + group).min(heads);
            let [q, k, v] = [&q, &k, &v].map(|x| heads_of::<B>(x, range.clone()));
            let bias = bias.as_ref().map(|bias| match extents::<B>(bias)[1] {
                1 => bias.clone(),
                _ => heads_of::<B>(bias, range.clone()),
            });
            attend::<B>(op, q, k, v, bias)
        })
        .collect();
    let merged =
        if parts.len() == 1 { parts.into_iter().next().expect("one") } else { B::float_cat(parts, 1) };
    B::float_permute(merged, &[0, 2, 1, 3])
}

fn heads_of<B: BurnBackend>(x: &FloatTensor<B>, range: std::ops::Range<usize>) -> FloatTensor<B> {
    if range == (0..extents::<B>(x)[1]) {
        return x.clone();
    }
    let full = Slice::from(..);
    B::float_slice(x.clone(), &[full, Slice::from(range), full, full])
}

/// See [`ScoreBound`]; computed on the host, as it is a number for a whole run. `facts` are the types of the weights.
pub fn score_bound<B: BurnBackend>(
    op: &ScoreBound,
    weights: Vec<Value<B>>,
    facts: &[Fact],
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let numbers = |(weight, fact): (Value<B>, &Fact)| Ok(weight.download(fact, "score_bound")?.to_f32());
    let weights = weights.into_iter().zip(facts).map(numbers).collect::<Result<Vec<_>, RunError>>()?;
    let weights: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    let (queries, keys) = weights.split_at(op.queries);
    Ok(Value::upload(HostTensor::from_f32([], &[op.of(queries, keys)]), device))
}

/// All of `q`, `k`, `v` as `[batch, heads, tokens, dim]`.
fn attend<B: BurnBackend>(
    op: &Attention,
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let dtype = q.dtype();
    let f32 = float_dtype(DType::F32);
    let device = B::float_device(&q);
    let (queries, keys) = (extents::<B>(&q)[2], extents::<B>(&k)[2]);
    let q = B::float_mul_scalar(B::float_cast(q, f32), op.scale.0.into());
    let mut scores = B::float_matmul(q, B::float_swap_dims(B::float_cast(k, f32), 2, 3));
    if let Some(bias) = bias {
        scores = B::float_add(scores, B::float_cast(bias, f32));
    }
    if op.causal {
        scores = B::float_add(scores, causal_mask::<B>(queries, keys, &device));
    }
    let weights = B::float_cast(softmax::<B>(scores), dtype.into());
    B::float_matmul(weights, v)
}

/// −∞ above the diagonal, `[1, 1, queries, keys]`.
fn causal_mask<B: BurnBackend>(queries: usize, keys: usize, device: &B::Device) -> FloatTensor<B> {
    let mask = |query: usize| (0..keys).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 });
    let values: Vec<f32> = (0..queries).flat_map(mask).collect();
    B::float_from_data(TensorData::new(values, Shape::new([1, 1, queries, keys])), device)
}

/// Over the last of four axes.
fn softmax<B: BurnBackend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let max = B::float_max_dim(x.clone(), 3);
    let exp = B::float_exp(B::float_sub(x, max));
    let sum = B::float_sum_dim(exp.clone(), 3);
    B::float_div(exp, sum)
}
