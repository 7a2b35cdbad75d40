use super::{InferError, OpKind, Operator, ensure, float};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Nearest-neighbour enlargement of `[batch, channels, height, width]` by an integer factor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsample {
    pub factor: usize,
}

impl Operator for Upsample {
    const NAMES: &'static [&'static str] = &["upsample"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        float("the input", x)?;
        ensure!(x.shape.len() == 4, "the input must be [batch, channels, height, width], not {}", x.shape);
        ensure!(self.factor > 0, "the factor must be positive");
        let enlarged = |axis: usize| x.shape[axis].saturating_mul(self.factor);
        Ok(Fact::new(x.dtype, [x.shape[0], x.shape[1], enlarged(2), enlarged(3)]))
    }
}
