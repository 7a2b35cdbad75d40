use super::{InferError, OpKind, Operator, ensure, float, one_dtype, per_element};
use crate::{Fact, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `a · b` over the last two axes: `[…, m, k] · […, k, n] = […, m, n]`, leading axes broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matmul {}

impl Operator for Matmul {
    const NAMES: &'static [&'static str] = &["matmul"];
    const KIND: OpKind = OpKind::Contraction;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (a, b) = (inputs[0], inputs[1]);
        float("the operand", a)?;
        one_dtype(inputs)?;
        let (Some((a_batch, [m, k])), Some((b_batch, [k2, n]))) =
            (a.shape.split_last_chunk(), b.shape.split_last_chunk())
        else {
            return Err(InferError(format!("operands must have two axes or more, not {a} and {b}")));
        };
        ensure!(k == k2, "the inner extents of {} and {} are {k} and {k2}", a.shape, b.shape);
        let Some(batch) = Shape::from(a_batch).broadcast(&Shape::from(b_batch)) else {
            return Err(InferError(format!(
                "the leading axes of {} and {} do not broadcast",
                a.shape, b.shape
            )));
        };
        Ok(Fact::new(a.dtype, [&batch, &[*m, *n][..]].concat()))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(inputs[0].shape.last().expect("inferred").saturating_mul(2), output)
    }
}
