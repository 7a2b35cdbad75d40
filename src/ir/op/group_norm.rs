use super::layer_norm::not_negative;
use super::{InferError, OpKind, Operator, Real, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Normalises `[batch, channels, …]` over each group of channels and everything after them, then `· weight + bias`,
/// both `[channels]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    pub groups: usize,
    pub eps: Real,
}

impl Operator for GroupNorm {
    const NAMES: &'static [&'static str] = &["group_norm"];
    const KIND: OpKind = OpKind::Reduction;

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        not_negative(self.eps)?;
        let x = inputs[0];
        float("the input", x)?;
        ensure!(x.shape.len() >= 2, "the input must be [batch, channels, …], not {}", x.shape);
        let channels = x.shape[1];
        ensure!(
            self.groups > 0 && channels.is_multiple_of(self.groups),
            "{channels} channels do not divide into {} groups",
            self.groups
        );
        for parameter in &inputs[1..] {
            ensure!(
                *parameter.shape == [channels],
                "a parameter must be [{channels}], not {}",
                parameter.shape
            );
        }
        one_dtype(inputs)?;
        Ok(x.clone())
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(8, output)
    }
}
