use super::{InferError, OpKind, Operator};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A value that comes from outside the graph. Printed in the stage's signature, not as a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {}

impl Operator for Input {
    const NAMES: &'static [&'static str] = &["input"];
    const KIND: OpKind = OpKind::Input;

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    /// An input's fact is declared by the program, so there is nothing to infer it from.
    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        Err(InferError("an input's type is declared by the program, not inferred".into()))
    }
}
