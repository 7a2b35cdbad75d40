use super::{InferError, OpKind, Operator, Real, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `(x - mean) / √(var + eps)` over the last axis in f32, then optionally `· weight + bias`, both `[last]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    pub eps: Real,
}

impl Operator for LayerNorm {
    const NAMES: &'static [&'static str] = &["layer_norm"];
    const KIND: OpKind = OpKind::RowReduction;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(inputs.len() != 2, "give both weight and bias, or neither");
        norm_over_last(inputs, self.eps)
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(8, output)
    }
}

/// Checks the number that is added to a variance.
pub(super) fn not_negative(eps: Real) -> Result<(), InferError> {
    let is_negative = eps.0 < 0.0;
    ensure!(!is_negative, "eps must not be negative, but is {}", eps.0);
    Ok(())
}

/// The result of a norm over the last axis whose affine parameters are each `[last]`.
pub(super) fn norm_over_last(inputs: &[&Fact], eps: Real) -> Result<Fact, InferError> {
    not_negative(eps)?;
    let x = inputs[0];
    float("the input", x)?;
    let Some(&last) = x.shape.last() else {
        return Err(InferError("a scalar has no axis to normalise over".into()));
    };
    for parameter in &inputs[1..] {
        ensure!(*parameter.shape == [last], "a parameter must be [{last}], not {}", parameter.shape);
    }
    one_dtype(inputs)?;
    Ok(x.clone())
}
