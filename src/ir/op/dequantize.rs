use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The numbers that codes stand for, computed in f32 and rounded to `dtype`; see [`Scales`](crate::Scales) and, of blocks,
/// [`BlockFormat`](crate::BlockFormat).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dequantize {
    pub dtype: DType,
}

impl Operator for Dequantize {
    const NAMES: &'static [&'static str] = &["dequantize"];
    const KIND: OpKind = OpKind::Codes;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        ensure!(x.is_coded(), "the input must be quantized, not {x}");
        ensure!(self.dtype.is_float(), "the result must be floating point, not {}", self.dtype);
        Ok(Fact::new(self.dtype, x.shape.clone()))
    }
}
