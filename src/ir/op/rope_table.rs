use super::{InferError, OpKind, Operator, Real, ensure};
use crate::{DType, Fact};
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
