//! What a step that reuses takes for the value it does not compute.

use reflux_ir::op::{Binary, Constant};
use reflux_ir::pass::PassError;
use reflux_ir::{ModulePath, Name, Patch, ValueId};

/// A function of the values of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predictor {
    /// The last one.
    Hold,
    /// The last one and some of its difference from the one before: `c₁ + (c₁ − c₀) · weight`. What was predicted counts
    /// as a value of its step. (diffusers, `hooks/faster_cache.py`.)
    Extrapolate { weight: f64 },
}

impl Predictor {
    /// How many earlier values it takes.
    pub fn history(self) -> usize {
        match self {
            Self::Hold => 1,
            Self::Extrapolate { .. } => 2,
        }
    }

    /// Adds the prediction of `site` from `history`, newest first.
    pub fn predict(
        self,
        patch: &mut Patch,
        site: ValueId,
        history: &[ValueId],
    ) -> Result<ValueId, PassError> {
        let Self::Extrapolate { weight } = self else { return Ok(history[0]) };
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
}
