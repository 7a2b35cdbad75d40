use super::{InferError, Operator, float, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A function applied to each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unary {
    /// `x · σ(x)`
    Silu,
    /// `x · Φ(x)`, by the error function
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`
    GeluTanh,
    /// `x · σ(1.702 x)`, CLIP's
    QuickGelu,
    /// `eˣ`
    Exp,
    /// `(e²ˣ − 1) / (e²ˣ + 1)`
    Tanh,
}

impl Operator for Unary {
    const NAMES: &'static [&'static str] = &["silu", "gelu", "gelu_tanh", "quick_gelu", "exp", "tanh"];

    fn name(&self) -> &'static str {
        Self::NAMES[*self as usize]
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        float("the operand", inputs[0])?;
        Ok(inputs[0].clone())
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        let operations = match self {
            Self::Exp => 1,
            Self::Silu | Self::QuickGelu | Self::Tanh => 4,
            Self::Gelu | Self::GeluTanh => 8,
        };
        per_element(operations, output)
    }

    fn attributes(&self) -> Map<String, Value> {
        Map::new()
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        no_attributes(&attributes)?;
        serde_json::from_value(Value::from(name))
    }
}

/// The error for attributes on an op that has none.
pub(super) fn no_attributes(attributes: &Map<String, Value>) -> Result<(), serde_json::Error> {
    match attributes.keys().next() {
        None => Ok(()),
        Some(key) => {
            Err(serde::de::Error::custom(format_args!("unknown field `{key}`, there are no attributes")))
        }
    }
}
