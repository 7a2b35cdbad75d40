use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The index of the first largest element of the last axis: `i32[…, n]` gives `i32[…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argmax {}

impl Operator for Argmax {
    const NAMES: &'static [&'static str] = &["argmax"];
    const KIND: OpKind = OpKind::Reduction;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(inputs[0].dtype == DType::I32, "the input must be i32, not {}", inputs[0]);
        match inputs[0].shape.split_last() {
            Some((1.., rest)) => Ok(Fact::new(DType::I32, rest)),
            _ => Err(InferError(format!("{} has no elements to choose from", inputs[0]))),
        }
    }
}
