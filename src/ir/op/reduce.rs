use super::family::{self, family};
use super::{InferError, OpKind, Operator, float};
use crate::Fact;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

family! {
    /// All numbers of the last axis as one, which is gone: `[…, n]` gives `[…]`. Computed in f32 and rounded once.
    pub enum Reduce {
        /// Their sum.
        Sum = "sum",
        /// The greatest of them. Whether one that is NaN counts depends on the backend.
        Amax = "amax",
    }
}

impl Operator for Reduce {
    const NAMES: &'static [&'static str] = Self::MNEMONICS;
    const KIND: OpKind = OpKind::Reduction;

    fn name(&self) -> &'static str {
        self.mnemonic()
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        float("the operand", inputs[0])?;
        match inputs[0].shape.split_last() {
            Some((1.., rest)) => Ok(Fact::new(inputs[0].dtype, rest)),
            _ => Err(InferError(format!("{} has no axis to reduce", inputs[0]))),
        }
    }

    fn flops(&self, inputs: &[&Fact], _output: &Fact) -> u64 {
        inputs[0].shape.elements() as u64
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        family::from_text(name, &attributes)
    }
}
