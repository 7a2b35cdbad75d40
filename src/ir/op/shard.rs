use super::{InferError, OpKind, Operator, Parts, axis_of, rows_stay};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A device's own share of a value that all devices have, divided along `axis` (negative: from the back). Nothing is exchanged.
///
/// With `parts`, the axis is divided part by part, see [`Parts`]; without, it is one part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    pub devices: usize,
    pub axis: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<usize>,
}

impl Shard {
    /// Divides an axis that is these `parts`.
    pub fn of(axis: usize, parts: &Parts) -> Self {
        let written = Parts::written(&parts.extents, parts.whole());
        Self { devices: parts.devices, axis: axis as i64, parts: written }
    }

    /// How it divides the axis of `x`, and which that is.
    ///
    /// # Errors
    /// If `x` has no such axis, or another extent along it.
    pub fn divides(&self, x: &Fact) -> Result<(usize, Parts), InferError> {
        let axis = axis_of(self.axis, x.shape.len())?;
        Ok((axis, Parts::new(self.devices, &self.parts, x.shape[axis])?))
    }
}

impl Operator for Shard {
    const NAMES: &'static [&'static str] = &["shard"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        let (axis, parts) = self.divides(x)?;
        rows_stay(x, axis)?;
        let mut shape = x.shape.to_vec();
        shape[axis] = parts.own();
        Ok(Fact { scales: x.scales, ..Fact::new(x.dtype, shape) })
    }

    fn bytes(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        output.bytes().saturating_mul(2)
    }
}
