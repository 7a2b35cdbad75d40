use super::{InferError, Operator, Real, ensure, float, one_dtype, per_element};
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

    fn arity(&self) -> RangeInclusive<usize> {
        1..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(inputs.len() != 2, "give both weight and bias, or neither");
        norm_over_last(inputs)
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(8, output)
    }
}

/// The result of a norm over the last axis whose affine parameters are each `[last]`.
pub(super) fn norm_over_last(inputs: &[&Fact]) -> Result<Fact, InferError> {
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
