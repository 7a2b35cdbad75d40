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

/// Numbers, or the numbers that codes are by themselves and their scales.
pub struct Factor<B: BurnBackend> {
    numbers: FloatTensor<B>,
    /// `[batch, tokens, heads, 1]`.
    scales: Option<FloatTensor<B>>,
}

impl<B: BurnBackend> Factor<B> {
    /// Queries or keys of the type `fact`, `[batch, tokens, heads, dim]`.
    pub fn of(x: Value<B>, fact: &Fact, device: &B::Device) -> Self {
        let Value::Quantized(coded) = x else { return Self { numbers: x.float(device), scales: None } };
        let numbers = match fact.dtype {
            DType::F8E4M3 => B::decode_f8(coded.codes, device),
            _ => B::int_into_float(coded.codes, float_dtype(DType::F32)),
        };
        let rows = [&fact.shape[..fact.shape.len() - 1], &[1]].concat();
        Self { numbers, scales: Some(B::float_reshape(coded.scales, Shape::from(rows))) }
    }

    fn map(self, f: impl Fn(FloatTensor<B>) -> FloatTensor<B>) -> Self {
        Self { numbers: f(self.numbers), scales: self.scales.map(f) }
    }
}

/// See [`Attention`]. Scores and softmax are f32 whatever the dtype; the weights are rounded to the dtype of `v` before they
/// multiply it.
pub fn composed<B: BurnBackend>(
    op: &Attention,
    q: Factor<B>,
    k: Factor<B>,
    v: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let shape = extents::<B>(&q.numbers);
    let [batch, queries, heads] = [shape[0], shape[1], shape[2]];
    let keys = extents::<B>(&k.numbers)[1];
    let heads_first = |x| B::float_permute(x, &[0, 2, 1, 3]);
    let ([q, k], v) = ([q, k].map(|x| x.map(heads_first)), heads_first(v));
    let bias = bias.map(|bias| with_rank::<B>(bias, 4));
    let group = (SCORE_BYTES / (4 * batch * queries * keys).max(1)).clamp(1, heads);
    let parts: Vec<_> = (0..heads)
        .step_by(group)
        .map(|start| {
            let range = start..(start + group).min(heads);
            let part = |x: &FloatTensor<B>| heads_of::<B>(x, range.clone());
            let [q, k] =
                [&q, &k].map(|x| Factor { numbers: part(&x.numbers), scales: x.scales.as_ref().map(part) });
            let v = part(&v);
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
    q: Factor<B>,
    k: Factor<B>,
    v: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let dtype = v.dtype();
    let f32 = float_dtype(DType::F32);
    let device = B::float_device(&v);
    let (queries, keys) = (extents::<B>(&q.numbers)[2], extents::<B>(&k.numbers)[2]);
    let as_columns = |k| B::float_swap_dims(B::float_cast(k, f32), 2, 3);
    let mut scores = match (q.scales, k.scales) {
        // The product of codes first, which is exact in i8.
        (Some(of_queries), Some(of_keys)) => {
            let products = B::float_matmul(q.numbers, as_columns(k.numbers));
            let of_queries = B::float_mul_scalar(of_queries, op.scale.0.into());
            B::float_mul(B::float_mul(products, of_queries), as_columns(of_keys))
        }
        _ => {
            let q = B::float_mul_scalar(B::float_cast(q.numbers, f32), op.scale.0.into());
            B::float_matmul(q, as_columns(k.numbers))
        }
    };
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
