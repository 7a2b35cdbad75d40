use super::{InferError, OpKind, Operator, Real, ensure};
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

impl Constant {
    /// `number` in as few digits as tell it apart from other f32 numbers: 0.02, not 0.019999999552965164.
    ///
    /// ```
    /// use reflux_ir::{DType, op::Constant};
    ///
    /// let constant = Constant::of(0.02, DType::F32);
    /// assert_eq!(constant.value.0, 0.02);
    /// assert_eq!(constant.rounded() as f32, 0.02);
    /// ```
    pub fn of(number: f32, dtype: DType) -> Self {
        let value: f64 = number.to_string().parse().expect("Rust reads the numbers that it writes");
        Self { value: value.into(), dtype }
    }

    /// The number rounded to its type; 16-bit types are rounded through f32.
    pub fn rounded(&self) -> f64 {
        let Real(value) = self.value;
        if self.dtype.is_float() { f64::from(self.dtype.round(value as f32)) } else { value }
    }
}

impl Operator for Constant {
    const NAMES: &'static [&'static str] = &["constant"];
    const KIND: OpKind = OpKind::Leaf;

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn works_by_rows(&self) -> bool {
        true
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        let Real(value) = self.value;
        let dtype = self.dtype;
        ensure!(!dtype.is_code(), "a constant is a number, and {dtype} is a type of codes");
        if dtype.is_float() {
            ensure!(self.rounded().is_finite(), "the constant is not finite in {dtype}");
        } else {
            let is_one = value.fract() == 0.0 && (dtype.least()..=dtype.greatest()).contains(&value);
            ensure!(is_one, "the constant is not a whole number that {dtype} can hold");
        }
        Ok(Fact::new(dtype, []))
    }
}
