use super::{InferError, OpKind, Operator, ensure, float};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Rows of a table: `ids` is `i32[…]`, the table `[rows, dim]`, the result `[…, dim]`. An id outside 0…rows−1 is an error on the
/// processor; a GPU takes the first or the last row then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {}

impl Operator for Embedding {
    const NAMES: &'static [&'static str] = &["embedding"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (ids, table) = (inputs[0], inputs[1]);
        ensure!(ids.dtype == DType::I32, "ids must be i32, not {ids}");
        float("the table", table)?;
        ensure!(table.shape.len() == 2, "the table must be [rows, dim], not {}", table.shape);
        Ok(Fact::new(table.dtype, [&ids.shape, &table.shape[1..]].concat()))
    }

    /// Only the chosen entries are read.
    fn bytes(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        inputs[0].bytes().saturating_add(output.bytes().saturating_mul(2))
    }
}
