use super::{InferError, OpKind, Operator, ensure};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Permutes the axes: axis *i* of the result is axis `perm[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    const NAMES: &'static [&'static str] = &["transpose"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        ensure!(
            sorted.iter().copied().eq(0..x.shape.len()),
            "{:?} is not a permutation of the axes of {}",
            self.perm,
            x.shape
        );
        Ok(Fact::new(x.dtype, self.perm.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>()))
    }
}
