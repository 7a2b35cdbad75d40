use super::{InferError, Operator, Real, ensure};
use crate::{DType, Fact, HostTensor};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A scalar. Printed in place, as the bare number, and typed like the other operand of its op.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    pub value: Real,
    pub dtype: DType,
}

impl Constant {
    /// The number as values of its type have it: those of 16 bits are rounded through f32.
    pub fn rounded(&self) -> f64 {
        let Real(value) = self.value;
        match self.dtype {
            DType::F32 => f64::from(value as f32),
            DType::BF16 | DType::F16 => {
                f64::from(HostTensor::from_f32([], &[value as f32]).cast(self.dtype).to_f32()[0])
            }
            _ => value,
        }
    }
}

impl Operator for Constant {
    const NAMES: &'static [&'static str] = &["constant"];

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        let Real(value) = self.value;
        match self.dtype {
            DType::I32 => ensure!(f64::from(value as i32) == value, "this is no i32"),
            DType::I8 => ensure!(f64::from(value as i8) == value, "this is no i8"),
            DType::F32 | DType::F16 | DType::BF16 => {
                ensure!(self.rounded().is_finite(), "this is not finite as {}", self.dtype);
            }
            DType::F8E4M3 | DType::U4 => ensure!(false, "codes are no numbers"),
        }
        Ok(Fact::new(self.dtype, []))
    }
}
