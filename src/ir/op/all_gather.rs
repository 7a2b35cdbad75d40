use super::{InferError, OpKind, Operator, Parts, axis_of, ensure, rows_stay};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The whole of a value of which each device has a [share](super::Shard) along `axis` (negative: from the back), on each of them.
///
/// With `parts`, these are what is along the whole axis, see [`Parts`]; without, it is one part that all have as much of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllGather {
    pub devices: usize,
    pub axis: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<usize>,
}

impl AllGather {
    /// Puts an axis together that is these `parts`.
    pub fn of(axis: usize, parts: &Parts) -> Self {
        let written = Parts::written(&parts.extents, parts.own() * parts.devices);
        Self { devices: parts.devices, axis: axis as i64, parts: written }
    }

    /// How the axis is divided of which `x` is a share, and which that is.
    ///
    /// # Errors
    /// If `x` has no such axis, or another share of it.
    pub fn gathers(&self, x: &Fact) -> Result<(usize, Parts), InferError> {
        let axis = axis_of(self.axis, x.shape.len())?;
        Ok((axis, shared(self.devices, &self.parts, x.shape[axis])?))
    }
}

/// The parts `extents` of an axis of which a device has `own`, or one part, if none are given.
pub(super) fn shared(devices: usize, extents: &[usize], own: usize) -> Result<Parts, InferError> {
    let whole = match extents {
        [] => own.saturating_mul(devices),
        _ => extents.iter().copied().fold(0, usize::saturating_add),
    };
    let parts = Parts::new(devices, extents, whole)?;
    ensure!(
        parts.own() == own,
        "of the parts {:?} each of {devices} devices has {}, not {own}",
        parts.extents,
        parts.own()
    );
    Ok(parts)
}

impl Operator for AllGather {
    const NAMES: &'static [&'static str] = &["all_gather"];
    const KIND: OpKind = OpKind::Collective;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        let (axis, parts) = self.gathers(x)?;
        rows_stay(x, axis)?;
        let mut shape = x.shape.to_vec();
        shape[axis] = parts.whole();
        Ok(Fact { scales: x.scales, ..Fact::new(x.dtype, shape) })
    }

    /// Its share, to each of the others.
    fn sent(&self, inputs: &[&Fact]) -> u64 {
        inputs[0].bytes().saturating_mul(self.devices.saturating_sub(1) as u64)
    }
}
