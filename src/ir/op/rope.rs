use super::{InferError, OpKind, Operator, ensure, float, per_element};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Rotates neighbouring pairs: `(x₀, x₁) → (x₀·cos − x₁·sin, x₁·cos + x₀·sin)`, in f32, rounded back.
///
/// `x` is `[batch, tokens, heads, dim]`, the table `f32[2, tokens, dim / 2]` from `rope_table`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {}

impl Operator for Rope {
    const NAMES: &'static [&'static str] = &["rope"];
    const KIND: OpKind = OpKind::Position;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, table) = (inputs[0], inputs[1]);
        float("the input", x)?;
        ensure!(x.shape.len() == 4, "the input must be [batch, tokens, heads, dim], not {}", x.shape);
        ensure!(x.shape[3].is_multiple_of(2), "the head dimension must be even, not {}", x.shape[3]);
        let expected = Fact::new(DType::F32, [2, x.shape[1], x.shape[3] / 2]);
        ensure!(table.same_type(&expected), "the table for {} must be {expected}, not {table}", x.shape);
        Ok(x.clone())
    }

    /// A row of the result needs only its token's row of the table.
    fn works_by_rows(&self) -> bool {
        true
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(3, output)
    }
}
