use super::{InferError, OpKind, Operator, ensure};
use crate::{Fact, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The same elements in row-major order under another shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    pub shape: Shape,
}

impl Operator for Reshape {
    const NAMES: &'static [&'static str] = &["reshape"];
    const KIND: OpKind = OpKind::View;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        ensure!(
            self.shape.checked_elements() == x.shape.checked_elements(),
            "the numbers of elements differ: {} has {}, {} has {}",
            self.shape,
            self.shape.elements(),
            x.shape,
            x.shape.elements()
        );
        Ok(Fact::new(x.dtype, self.shape.clone()))
    }
}
