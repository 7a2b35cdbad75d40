use super::all_gather::shared;
use super::{InferError, OpKind, Operator, Parts, axis_of, ensure, rows_stay};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Divides a value along another axis: what [`AllGather`](super::AllGather) along `concat` and then [`Shard`](super::Shard) along
/// `split` give, of which each device only receives what it keeps. Negative axes count from the back.
///
/// `bf16[1,1024,24,128]` with `{devices=4, split=2, concat=1}`, a quarter of the tokens, gives all tokens of a quarter of the heads:
/// `bf16[1,4096,6,128]`; with the axes exchanged it is the way back. (As JAX's `lax.all_to_all(tiled=True)`; between tokens and heads
/// around attention, as in DeepSpeed-Ulysses, arXiv 2309.14509.)
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllToAll {
    pub devices: usize,
    pub split: i64,
    pub concat: i64,
    /// The parts of the axis `split`, if it is several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split_parts: Vec<usize>,
    /// The parts of the axis `concat`, if it is several, or not all devices have as much of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concat_parts: Vec<usize>,
}

/// An axis of a value, and how it is divided.
pub type Divided = (usize, Parts);

impl AllToAll {
    /// Goes from shares along `concat` to shares along `split`.
    pub fn of(concat: &Divided, split: &Divided) -> Self {
        Self {
            devices: split.1.devices,
            split: split.0 as i64,
            concat: concat.0 as i64,
            split_parts: Parts::written(&split.1.extents, split.1.whole()),
            concat_parts: Parts::written(&concat.1.extents, concat.1.own() * concat.1.devices),
        }
    }

    /// The axis along which `x` is a share, and the one along which the result is.
    ///
    /// # Errors
    /// If `x` has no such axes, or other extents along them.
    pub fn exchanges(&self, x: &Fact) -> Result<(Divided, Divided), InferError> {
        let [split, concat] = [self.split, self.concat].map(|axis| axis_of(axis, x.shape.len()));
        let (split, concat) = (split?, concat?);
        ensure!(split != concat, "what is split along axis {split} must be concatenated along another");
        let gathered = shared(self.devices, &self.concat_parts, x.shape[concat])?;
        let divided = Parts::new(self.devices, &self.split_parts, x.shape[split])?;
        Ok(((concat, gathered), (split, divided)))
    }
}

impl Operator for AllToAll {
    const NAMES: &'static [&'static str] = &["all_to_all"];
    const KIND: OpKind = OpKind::Collective;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        let ((concat, gathered), (split, divided)) = self.exchanges(x)?;
        rows_stay(x, concat)?;
        rows_stay(x, split)?;
        let mut shape = x.shape.to_vec();
        shape[concat] = gathered.whole();
        shape[split] = divided.own();
        Ok(Fact { scales: x.scales, ..Fact::new(x.dtype, shape) })
    }

    /// All of its share but what it keeps.
    fn sent(&self, inputs: &[&Fact]) -> u64 {
        let devices = self.devices.max(1) as u64;
        inputs[0].bytes() / devices * (devices - 1)
    }
}
