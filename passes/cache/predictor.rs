//! What a step that reuses takes for the value it does not compute.

use super::StepMask;
use super::forecast::{Chebyshev, Hermite, Taylor};
use super::options::Options;
use reflux_ir::op::{Binary, Cast, Constant};
use reflux_ir::pass::{OptionInfo, PassError};
use reflux_ir::{DType, ModulePath, Name, Patch, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// A function of the values of earlier steps, with its options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Predictor {
    /// The last one.
    Hold,
    Extrapolate(Extrapolate),
    Taylor(Taylor),
    Hermite(Hermite),
    Chebyshev(Chebyshev),
}

/// What one step that reuses takes for a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// The sum of the last values that were computed, newest first, each by its weight. The last weight is not 0.
    Weighted(Vec<f32>),
    /// [`Extrapolate`]: the values may be predicted ones, and the prediction counts as one.
    Extrapolated { weight: f64 },
}

/// The last value and some of its difference from the one before: `c₁ + (c₁ − c₀) · weight`. What was predicted counts as a
/// value of its step. (diffusers, `hooks/faster_cache.py`.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Extrapolate {
    /// The factor by which the last difference is added.
    pub weight: f64,
}

impl Options for Extrapolate {
    fn check(&self) -> Result<(), String> {
        let is_sensible = (-10.0..=10.0).contains(&self.weight);
        is_sensible
            .then_some(())
            .ok_or_else(|| format!("weight must be between -10 and 10, not {:?}", self.weight))
    }
}

impl Predictor {
    /// Its options.
    pub fn options(&self) -> Vec<OptionInfo> {
        match self {
            Self::Hold => Vec::new(),
            Self::Extrapolate(_) => Extrapolate::described(),
            Self::Taylor(_) => Taylor::described(),
            Self::Hermite(_) => Hermite::described(),
            Self::Chebyshev(_) => Chebyshev::described(),
        }
    }

    /// The predictor with those options of `given` that are its own.
    pub fn with(&self, given: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(match self {
            Self::Hold => Self::Hold,
            Self::Extrapolate(options) => Self::Extrapolate(options.overlaid(given)?),
            Self::Taylor(options) => Self::Taylor(options.overlaid(given)?),
            Self::Hermite(options) => Self::Hermite(options.overlaid(given)?),
            Self::Chebyshev(options) => Self::Chebyshev(options.overlaid(given)?),
        })
    }

    /// What each step of `mask` takes for a value, none where it computes.
    pub fn predictions(&self, mask: &StepMask) -> Vec<Option<Prediction>> {
        let (mut computed, steps) = (Vec::new(), mask.iter().count());
        let of_step = |(step, computes)| {
            if computes {
                computed.push(step);
                return None;
            }
            Some(match self {
                Self::Hold => Prediction::weighted(&[1.0]),
                Self::Extrapolate(options) => Prediction::Extrapolated { weight: options.weight },
                Self::Taylor(options) => Prediction::weighted(&options.weights(&computed, step)),
                Self::Hermite(options) => Prediction::weighted(&options.weights(&computed, step)),
                Self::Chebyshev(options) => Prediction::weighted(&options.weights(&computed, step, steps)),
            })
        };
        mask.iter().enumerate().map(of_step).collect()
    }

    /// A warning if `method` predicts too many steps `in_a_row`.
    pub fn warning(self, method: &str, in_a_row: usize) -> Option<String> {
        // With more steps in a row, the known values are too far back. On the bundled model, with 1 to 4 in a row, the final
        // latents are off by 0.05, 0.13, 0.71 and 1.03 (relative L2); those of `pab`, which holds, are off by 0.07 with 4.
        const MOST_EXTRAPOLATED: usize = 2;
        let is_far = matches!(self, Self::Extrapolate(_)) && in_a_row > MOST_EXTRAPOLATED;
        is_far.then(|| {
            format!(
                "{method} extrapolates over {in_a_row} steps in a row, which is too far: pictures change or become noise; \
                 use an interval of 2 or 3, or pab"
            )
        })
    }
}

impl Prediction {
    /// These weights as f32, without those at the end that are 0.
    fn weighted(weights: &[f64]) -> Self {
        let needed = weights.iter().rposition(|&weight| weight as f32 != 0.0).map_or(1, |last| last + 1);
        Self::Weighted(weights[..needed].iter().map(|&weight| weight as f32).collect())
    }

    /// How many earlier values it takes.
    pub fn history(&self) -> usize {
        match self {
            Self::Weighted(weights) => weights.len(),
            Self::Extrapolated { .. } => 2,
        }
    }

    /// Whether it is made of several computed values.
    pub fn is_forecast(&self) -> bool {
        matches!(self, Self::Weighted(_)) && self.history() > 1
    }

    /// Whether it counts as a value of its step.
    pub fn is_carried(&self) -> bool {
        matches!(self, Self::Extrapolated { .. })
    }

    /// Adds the prediction from `history`, newest first, under the name and path of `site`.
    pub fn predict(
        &self,
        patch: &mut Patch,
        site: ValueId,
        history: &[ValueId],
    ) -> Result<ValueId, PassError> {
        match self {
            Self::Weighted(weights) => weighted_sum(patch, site, weights, history),
            Self::Extrapolated { weight } => extrapolated(patch, site, *weight, history),
        }
    }
}

/// For people: the weights, if it has any that say more than "the last value".
impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weighted(weights) => {
                let weights: Vec<_> = weights.iter().map(f32::to_string).collect();
                write!(f, "weights {} of the last values computed, newest first", weights.join(", "))
            }
            Self::Extrapolated { weight } => {
                write!(f, "the last value and {weight:?} of the last difference")
            }
        }
    }
}

/// `Σ weight · value`. It is summed in f32 whatever the type of the values: weights exceed 1 and nearly cancel.
fn weighted_sum(
    patch: &mut Patch,
    site: ValueId,
    weights: &[f32],
    history: &[ValueId],
) -> Result<ValueId, PassError> {
    let node = &patch.graph()[site];
    let (name, path, dtype) = (node.name.clone(), node.path.clone(), node.fact.dtype);
    if let [1.0] = weights {
        return Ok(history[0]);
    }
    let exact = DType::F32;
    let mut sum = None;
    for (&weight, &value) in weights.iter().zip(history).filter(|(weight, _)| **weight != 0.0) {
        let of_value = patch.graph()[value].name.clone();
        let mut term = value;
        if dtype != exact {
            term = patch.add(Cast { dtype: exact }, &[term], &of_value.suffixed("_cast"), path.clone())?;
        }
        if weight != 1.0 {
            let weight = patch.add(Constant::of(weight, exact), &[], &name, ModulePath::root())?;
            term = patch.add(Binary::Mul, &[term, weight], &of_value.suffixed("_term"), path.clone())?;
        }
        sum = Some(match sum {
            None => term,
            Some(sum) => patch.add(Binary::Add, &[sum, term], &name, path.clone())?,
        });
    }
    let sum = sum.expect("the last weight is not 0");
    Ok(if dtype == exact { sum } else { patch.add(Cast { dtype }, &[sum], &name, path)? })
}

/// `c₁ + (c₁ − c₀) · weight`.
fn extrapolated(
    patch: &mut Patch,
    site: ValueId,
    weight: f64,
    history: &[ValueId],
) -> Result<ValueId, PassError> {
    let node = &patch.graph()[site];
    let (name, path, dtype) = (node.name.clone(), node.path.clone(), node.fact.dtype);
    let mut add = |suffix: &str, op: Binary, operands: [ValueId; 2], path: ModulePath| {
        patch.add(op, &operands, &Name::suffixed(&name, suffix), path)
    };
    let delta = add("_delta", Binary::Sub, [history[0], history[1]], path.clone())?;
    let weight = patch.add(Constant { value: weight.into(), dtype }, &[], &name, ModulePath::root())?;
    let step = patch.add(Binary::Mul, &[delta, weight], &name.suffixed("_step"), path.clone())?;
    Ok(patch.add(Binary::Add, &[history[0], step], &name, path)?)
}
