use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// One entry along an axis: with a scalar index, `x[i]`; with an index `[batch]`, `out[b] = x[b, i[b]]`; and so on.
///
/// The index is `i32` of shape *p*, `x` is `p ++ [n] ++ rest`, the result `p ++ rest`. An index outside 0…n−1 is an error on the
/// processor; a GPU takes the first or the last entry then, and never one of another `x[b]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {}

impl Operator for Select {
    const NAMES: &'static [&'static str] = &["select"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, index) = (inputs[0], inputs[1]);
        ensure!(index.dtype == DType::I32, "the index must be i32, not {index}");
        let prefix = index.shape.len();
        ensure!(
            x.shape.len() > prefix && x.shape[..prefix] == *index.shape,
            "the input {1} must begin with the extents of the index {0}, followed by an axis to select from",
            index.shape,
            x.shape
        );
        Ok(Fact::new(x.dtype, [&index.shape, &x.shape[prefix + 1..]].concat()))
    }

    /// Only the chosen entries are read.
    fn bytes(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        inputs[1].bytes().saturating_add(output.bytes().saturating_mul(2))
    }
}
