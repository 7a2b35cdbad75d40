use super::{InferError, OpKind, Operator};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A tensor of the checkpoint, by its diffusers name. Printed in place, `@proj_out.weight f32[64,256]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    pub tensor: String,
}

impl Operator for Weight {
    const NAMES: &'static [&'static str] = &["weight"];
    const KIND: OpKind = OpKind::Leaf;

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    /// A weight's fact is declared where it is used, so there is nothing to infer it from.
    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        Err(InferError("a weight's type is declared where it is used, not inferred".into()))
    }
}
