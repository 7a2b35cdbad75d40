use super::{InferError, OpKind, Operator, Real, ensure, float, one_dtype, per_element};
use crate::{Fact, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `softmax(scale · q · kᵀ + bias) · v` per head.
///
/// `q` is `[batch, queries, heads, dim]`, `k` and `v` `[batch, keys, heads, dim]`, the optional `bias` broadcasts to
/// `[batch, heads, queries, keys]`; the result has the shape of `q`. With `causal`, query *i* sees keys up to *i*.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    pub scale: Real,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub causal: bool,
}

impl Operator for Attention {
    const NAMES: &'static [&'static str] = &["attention"];
    const KIND: OpKind = OpKind::Contraction;

    fn arity(&self) -> RangeInclusive<usize> {
        3..=4
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        float("the query", q)?;
        one_dtype(inputs)?;
        ensure!(q.shape.len() == 4, "the query must be [batch, queries, heads, dim], not {}", q.shape);
        ensure!(k.shape == v.shape, "keys {} and values {} must have the same shape", k.shape, v.shape);
        let [batch, queries, heads, dim] = [q.shape[0], q.shape[1], q.shape[2], q.shape[3]];
        ensure!(
            k.shape.len() == 4 && [k.shape[0], k.shape[2], k.shape[3]] == [batch, heads, dim],
            "keys must be [{batch}, keys, {heads}, {dim}] to match the query, not {}",
            k.shape
        );
        let keys = k.shape[1];
        ensure!(
            !self.causal || queries == keys,
            "causal attention needs as many queries as keys, not {queries} and {keys}"
        );
        if let Some(bias) = inputs.get(3) {
            let scores = Shape::from([batch, heads, queries, keys]);
            ensure!(
                bias.shape.broadcast(&scores).as_ref() == Some(&scores),
                "a bias {} does not broadcast to the scores {scores}",
                bias.shape
            );
        }
        Ok(Fact::new(q.dtype, q.shape.clone()))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        // Two products of queries × keys × dim; by convention, the softmax between them is not counted.
        per_element(inputs[1].shape[1].saturating_mul(4), output)
    }
}
