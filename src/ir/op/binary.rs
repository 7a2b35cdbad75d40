use super::{InferError, Operator, float, one_dtype, per_element, unary::no_attributes};
use crate::Fact;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Arithmetic on two values of one dtype, broadcast as in numpy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// 1 where the operands are equal, else 0, in their dtype.
    Equal,
    /// The lesser operand; not a number if one of them is not. Of zeros that differ in sign, either.
    Min,
    /// The greater operand; not a number if one of them is not. Of zeros that differ in sign, either.
    Max,
    /// `aᵇ` of floating-point numbers, with C's results for zeros, infinities and negative bases.
    Pow,
}

impl Operator for Binary {
    const NAMES: &'static [&'static str] = &["add", "sub", "mul", "div", "equal", "min", "max", "pow"];

    fn name(&self) -> &'static str {
        Self::NAMES[*self as usize]
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (a, b) = (inputs[0], inputs[1]);
        match self {
            Self::Div => float("what is divided", a)?,
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
        // A power is e to the product of the exponent and a logarithm.
        per_element(if *self == Self::Pow { 3 } else { 1 }, output)
    }

    fn attributes(&self) -> Map<String, Value> {
        Map::new()
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        no_attributes(&attributes)?;
        serde_json::from_value(Value::from(name))
    }
}
