use super::{InferError, OpKind, Operator, Real, ensure};
use crate::{DType, Fact, HostTensor};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Rotation angles per position as cosines and sines.
///
/// `ids` is `f32[tokens, axes]`; axis *a* contributes `axes[a] / 2` angles `id · theta^(-2j / axes[a])`, computed in
/// f64. The result is `f32[2, tokens, Σaxes / 2]`: cosines, then sines (diffusers, `FluxPosEmbed`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeTable {
    pub axes: Vec<usize>,
    pub theta: Real,
}

impl RopeTable {
    /// The angles of a position of 1, each with the axis that it belongs to.
    pub fn frequencies(&self) -> Vec<(usize, f64)> {
        let of_axis = |(axis, &dim): (usize, &usize)| {
            (0..dim / 2).map(move |j| (axis, self.theta.0.powf(-((2 * j) as f64 / dim as f64))))
        };
        self.axes.iter().enumerate().flat_map(of_axis).collect()
    }

    /// The table of the positions `ids`, which are `f32[tokens, axes]`.
    pub fn table(&self, ids: &HostTensor) -> HostTensor {
        let (ids, frequencies) = (ids.to_f32(), self.frequencies());
        let angles: Vec<f64> = ids
            .chunks_exact(self.axes.len())
            .flat_map(|id| frequencies.iter().map(|&(axis, frequency)| f64::from(id[axis]) * frequency))
            .collect();
        let cos = angles.iter().map(|angle| angle.cos() as f32);
        let table: Vec<f32> = cos.chain(angles.iter().map(|angle| angle.sin() as f32)).collect();
        HostTensor::from_f32([2, ids.len() / self.axes.len(), frequencies.len()], &table)
    }
}

impl Operator for RopeTable {
    const NAMES: &'static [&'static str] = &["rope_table"];
    const KIND: OpKind = OpKind::Position;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let ids = inputs[0];
        ensure!(
            ids.dtype == DType::F32 && ids.shape.len() == 2 && ids.shape[1] == self.axes.len(),
            "ids must be f32[tokens,{}], not {ids}",
            self.axes.len()
        );
        ensure!(
            self.axes.iter().all(|axis| axis.is_multiple_of(2)),
            "axes must be even, not {:?}",
            self.axes
        );
        let is_positive = self.theta.0 > 0.0;
        ensure!(is_positive, "theta must be positive, not {}", self.theta.0);
        let dim = self.axes.iter().copied().fold(0, usize::saturating_add);
        Ok(Fact::new(DType::F32, [2, ids.shape[0], dim / 2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_follow_each_other() {
        let op = RopeTable { axes: vec![2, 4], theta: Real::from(100.0) };
        let table = op.table(&HostTensor::from_f32([1, 2], &[1.0, 2.0])).to_f32();
        let angles = [1.0f64, 2.0, 2.0 / 10.0];
        let expected: Vec<f32> =
            angles.iter().map(|a| a.cos() as f32).chain(angles.iter().map(|a| a.sin() as f32)).collect();
        assert_eq!(table, expected);
    }
}
