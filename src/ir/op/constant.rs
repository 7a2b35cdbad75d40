use super::{InferError, Operator, Real, ensure};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A scalar. Printed in place, as the bare number, and typed like the other operand of its op.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    pub value: Real,
    pub dtype: DType,
}

impl Operator for Constant {
    const NAMES: &'static [&'static str] = &["constant"];

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(self.value.is_finite(), "a constant must be finite, not {}", self.value);
        Ok(Fact::new(self.dtype, []))
    }
}
