use super::{InferError, OpKind, Operator, axis_of, ensure};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Elements `start..end` along `axis` (negative: from the back).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    pub axis: i64,
    pub start: usize,
    pub end: usize,
}

impl Operator for Slice {
    const NAMES: &'static [&'static str] = &["slice"];
    const KIND: OpKind = OpKind::View;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        let axis = axis_of(self.axis, x.shape.len())?;
        ensure!(
            self.start < self.end && self.end <= x.shape[axis],
            "{}..{} is out of bounds: the extent along axis {axis} is {}",
            self.start,
            self.end,
            x.shape[axis]
        );
        let mut shape = x.shape.to_vec();
        shape[axis] = self.end - self.start;
        Ok(Fact::new(x.dtype, shape))
    }
}
