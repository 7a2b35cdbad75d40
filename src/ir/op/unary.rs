use super::family::{self, family};
use super::{InferError, OpKind, Operator, float, per_element};
use crate::Fact;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

family! {
    /// A function applied to each element.
    pub enum Unary {
        /// `x · σ(x)`
        Silu = "silu",
        /// `x · Φ(x)`, computed with the error function
        Gelu = "gelu",
        /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`
        GeluTanh = "gelu_tanh",
        /// `x · σ(1.702 x)`, as in CLIP
        QuickGelu = "quick_gelu",
        /// `eˣ`
        Exp = "exp",
        /// `(e²ˣ − 1) / (e²ˣ + 1)`
        Tanh = "tanh",
        /// `1 / (1 + e⁻ˣ)`
        Sigmoid = "sigmoid",
        /// The error function, `2/√π · ∫₀ˣ e^−t² dt`
        Erf = "erf",
        /// `√x`; NaN of negative numbers
        Sqrt = "sqrt",
        /// The natural logarithm; NaN of negative numbers
        Log = "log",
        /// The sine of an angle in radians
        Sin = "sin",
        /// The cosine of an angle in radians
        Cos = "cos",
    }
}

impl Operator for Unary {
    const NAMES: &'static [&'static str] = Self::MNEMONICS;
    const KIND: OpKind = OpKind::Elementwise;

    fn name(&self) -> &'static str {
        self.mnemonic()
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
            Self::Exp | Self::Sqrt | Self::Log => 1,
            Self::Silu | Self::QuickGelu | Self::Tanh | Self::Sigmoid => 4,
            Self::Gelu | Self::GeluTanh | Self::Erf | Self::Sin | Self::Cos => 8,
        };
        per_element(operations, output)
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        family::from_text(name, &attributes)
    }
}
