use super::{InferError, OpKind, Operator, Real, layer_norm::norm_over_last, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `x / √(mean(x²) + eps) · weight` over the last axis; the quotient is taken in f32 and rounded before `weight`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmsNorm {
    pub eps: Real,
}

impl Operator for RmsNorm {
    const NAMES: &'static [&'static str] = &["rms_norm"];
    const KIND: OpKind = OpKind::RowReduction;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        norm_over_last(inputs, self.eps)
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(4, output)
    }
}
