use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The input in another dtype, rounded to nearest even.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    pub dtype: DType,
}

impl Operator for Cast {
    const NAMES: &'static [&'static str] = &["cast"];
    const KIND: OpKind = OpKind::Elementwise;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(!self.dtype.is_code(), "`cast` does not make codes; use `quantize`");
        Ok(Fact::new(self.dtype, inputs[0].shape.clone()))
    }
}
