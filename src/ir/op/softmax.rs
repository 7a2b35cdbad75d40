use super::{InferError, OpKind, Operator, float, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `eˣ / Σ eˣ` over the last axis, computed in f32 and rounded once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

impl Operator for Softmax {
    const NAMES: &'static [&'static str] = &["softmax"];
    // Networks have it inside of `attention`: formulas do not know it.
    const KIND: OpKind = OpKind::Reduction;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        float("the operand", inputs[0])?;
        match inputs[0].shape.is_empty() {
            true => Err(InferError("a scalar has no axis to normalise over".into())),
            false => Ok(inputs[0].clone()),
        }
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(4, output)
    }
}
