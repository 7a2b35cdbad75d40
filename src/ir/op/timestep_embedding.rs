use super::{InferError, OpKind, Operator, Real, ensure, float};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Sinusoidal embedding, cosines first: `[cos(t·ω), sin(t·ω)]` with `ωᵢ = max_period^(-i / (dim/2))`.
///
/// `t` is `[…]` of any float dtype; the result is `f32[…, dim]` (diffusers, `get_timestep_embedding` with
/// `flip_sin_to_cos=True, downscale_freq_shift=0`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestepEmbedding {
    pub dim: usize,
    pub max_period: Real,
}

impl TimestepEmbedding {
    /// The frequencies, `dim / 2` of them, rounded to f32 as in diffusers; `t` reaches 1000 and more, so the rounding matters.
    pub fn frequencies(&self) -> Vec<f32> {
        let half = self.dim / 2;
        let scale = -self.max_period.0.ln() as f32;
        (0..half).map(|i| (scale * i as f32 / half as f32).exp()).collect()
    }
}

impl Operator for TimestepEmbedding {
    const NAMES: &'static [&'static str] = &["timestep_embedding"];
    const KIND: OpKind = OpKind::Position;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        float("the timestep", inputs[0])?;
        ensure!(
            self.dim > 0 && self.dim.is_multiple_of(2),
            "dim must be even and positive, not {}",
            self.dim
        );
        Ok(Fact::new(DType::F32, [&inputs[0].shape[..], &[self.dim]].concat()))
    }
}
