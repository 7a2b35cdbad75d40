use super::family::{self, family};
use super::{InferError, OpKind, Operator, float, one_dtype, per_element};
use crate::Fact;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

family! {
    /// Arithmetic on two values of one dtype, broadcast as in numpy.
    pub enum Binary {
        Add = "add",
        Sub = "sub",
        Mul = "mul",
        Div = "div",
        /// 1 where the operands are equal, else 0, in their dtype.
        Equal = "equal",
        /// 1 where the first operand is less than the second, else 0, in their dtype. Never true of NaN.
        Less = "less",
        /// The lesser operand; NaN if one of them is NaN. Of two zeros of different sign, either one.
        Min = "min",
        /// The greater operand; NaN if one of them is NaN. Of two zeros of different sign, either one.
        Max = "max",
        /// `aᵇ` of floating-point numbers, with C's results for zeros, infinities and negative bases.
        Pow = "pow",
    }
}

impl Binary {
    /// The exact result for two numbers, in f64; `None` for a power, whose last bit depends on the backend.
    pub fn of(self, a: f64, b: f64) -> Option<f64> {
        Some(match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Equal => f64::from(a == b),
            Self::Less => f64::from(a < b),
            Self::Min => a.min(b),
            Self::Max => a.max(b),
            Self::Pow => return None,
        })
    }
}

impl Operator for Binary {
    const NAMES: &'static [&'static str] = Self::MNEMONICS;
    const KIND: OpKind = OpKind::Elementwise;

    fn name(&self) -> &'static str {
        self.mnemonic()
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (a, b) = (inputs[0], inputs[1]);
        match self {
            Self::Div => float("the dividend", a)?,
            Self::Pow => float("the base", a)?,
            _ => {}
        }
        one_dtype(inputs)?;
        match a.shape.broadcast(&b.shape) {
            Some(shape) => Ok(Fact::new(a.dtype, shape)),
            None => Err(InferError(format!("{} and {} do not broadcast", a.shape, b.shape))),
        }
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        // A logarithm, a product with the exponent, and an exponential.
        per_element(if *self == Self::Pow { 3 } else { 1 }, output)
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        family::from_text(name, &attributes)
    }
}
