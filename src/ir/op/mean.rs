use super::{InferError, OpKind, Operator, float};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The mean of the last axis, in f32 whatever the type of its elements: `bf16[…, n]` gives `f32[…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {}

impl Operator for Mean {
    const NAMES: &'static [&'static str] = &["mean"];
    const KIND: OpKind = OpKind::Reduction;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        float("the operand", inputs[0])?;
        match inputs[0].shape.split_last() {
            Some((1.., rest)) => Ok(Fact::new(DType::F32, rest)),
            _ => Err(InferError(format!("{} has no elements to take a mean of", inputs[0]))),
        }
    }

    fn flops(&self, inputs: &[&Fact], _output: &Fact) -> u64 {
        inputs[0].shape.elements() as u64
    }
}
