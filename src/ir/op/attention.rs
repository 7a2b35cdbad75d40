use super::{InferError, OpKind, Operator, Real, ensure, float, one_dtype, per_element};
use crate::{DType, Fact, Granularity, Scales, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `softmax(scale · q · kᵀ + bias) · v` per head.
///
/// `q` is `[batch, queries, heads, dim]`, `k` and `v` `[batch, keys, heads, dim]`, the optional `bias` broadcasts to
/// `[batch, heads, queries, keys]`; the result has the shape of `q` and the dtype of `v`. With `causal`, query *i* sees keys up to *i*.
///
/// Queries and keys may be codes with an f32 scale for each row, both `i8` or both `f8e4m3`: a score is then the product of codes, summed
/// exactly for `i8` and in f32 for `f8e4m3`, times `scale` and the scales of the two rows. Values are numbers, and have the dtype of a bias.
///
/// With `bounded`, the fourth operand is no bias but `f32[]`: no score `scale · q · k` is larger than it, or smaller than its
/// negative (see [`ScoreBound`](super::ScoreBound)). So a softmax may do without the largest score of a row, which would
/// only keep its exponentials within range. Nothing checks this promise: where it is broken, weights may overflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    pub scale: Real,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub causal: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounded: bool,
}

impl Attention {
    /// The bias, among the operands of the op.
    pub fn bias<'a, T>(&self, operands: &'a [T]) -> Option<&'a T> {
        operands.get(3).filter(|_| !self.bounded)
    }

    /// How queries and keys are coded, so that one product of codes is a sum of theirs: the dtypes that there are products of.
    pub const CODES: [DType; 2] = [DType::I8, DType::F8E4M3];

    /// The scales of coded queries and keys.
    pub const SCALES: Scales = Scales { per: Granularity::Row, dtype: DType::F32 };

    /// The bound of the scores, among the operands of the op.
    pub fn bound<'a, T>(&self, operands: &'a [T]) -> Option<&'a T> {
        operands.get(3).filter(|_| self.bounded)
    }
}

impl Operator for Attention {
    const NAMES: &'static [&'static str] = &["attention"];
    const KIND: OpKind = OpKind::Contraction;

    fn arity(&self) -> RangeInclusive<usize> {
        3..=4
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        let numbers = if self.bounded { &inputs[..3] } else { inputs };
        if q.is_coded() || k.is_coded() {
            codes(q, k)?;
            ensure!(
                numbers[2..].iter().all(|x| x.dtype.is_float()),
                "values and a bias are numbers, not codes like {v}"
            );
            one_dtype(&numbers[2..])?;
        } else {
            float("the query", q)?;
            one_dtype(numbers)?;
        }
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
        ensure!(
            !self.bounded || inputs.len() == 4 && !self.causal,
            "bounded attention has q, k, v and the bound as operands, and is not causal"
        );
        if let Some(bound) = self.bound(inputs) {
            let expected = Fact::new(DType::F32, Shape::default());
            ensure!(bound.same_type(&expected), "the bound of the scores must be {expected}, not {bound}");
        }
        if let Some(bias) = self.bias(inputs) {
            let scores = Shape::from([batch, heads, queries, keys]);
            ensure!(
                bias.shape.broadcast(&scores).as_ref() == Some(&scores),
                "a bias {} does not broadcast to the scores {scores}",
                bias.shape
            );
        }
        Ok(Fact::new(v.dtype, q.shape.clone()))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        // Two products of queries × keys × dim; by convention, the softmax between them is not counted.
        per_element(inputs[1].shape[1].saturating_mul(4), output)
    }
}

/// Checks that queries and keys are codes that have a product, with scales that can be taken out of it.
fn codes(q: &Fact, k: &Fact) -> Result<(), InferError> {
    for (what, x) in [("queries", q), ("keys", k)] {
        ensure!(
            Attention::CODES.contains(&x.dtype) && x.scales == Some(Attention::SCALES),
            "coded {what} must be i8 or f8e4m3 with {}, not {x}",
            Attention::SCALES
        );
    }
    ensure!(q.dtype == k.dtype, "queries and keys must have codes of one dtype, not {q} and {k}");
    Ok(())
}
