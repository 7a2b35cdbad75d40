//! The noise levels that a request asks for.

use super::request::{Request, within};
use crate::Error;
use reflux_models::scheduler::Levels;
use reflux_models::{Condition, Defaults, ModelConfig};

/// How much of a picture is drawn anew if the request does not say, in diffusers' pipelines.
const STRENGTH: f64 = 0.6;

impl Request {
    /// The noise levels before the shift, and the strength.
    pub(super) fn levels(&self, defaults: &Defaults, model: &ModelConfig) -> Result<(Levels, f64), Error> {
        let mut levels = match &self.sigmas {
            Some(sigmas) => Levels { sigmas: checked_sigmas(sigmas, self.steps)?, shift: None, skipped: 0 },
            None => {
                let steps = self.steps.unwrap_or(defaults.steps);
                within("the number of steps", steps, 1, model.scheduler().num_train_timesteps)?;
                Levels::even(steps)
            }
        };
        if let Some(shift) = self.flow_shift
            && !(shift.is_finite() && shift > 0.0)
        {
            let (range, found) = ("a number above 0".into(), shift.to_string());
            return Err(Error::Range { what: "the flow shift", range, found });
        }
        levels.shift = self.flow_shift;
        // Where something is painted into a picture, nothing of what was there is to be seen.
        let usual = if model.condition() == Condition::Masked { 1.0 } else { STRENGTH };
        let strength = self.strength.unwrap_or(usual);
        if self.init_image.is_some() {
            levels.skipped = skipped(levels.sigmas.len(), strength)?;
        }
        Ok((levels, strength))
    }
}

/// The given noise levels as they are used: the last one, 0, goes without saying.
fn checked_sigmas(sigmas: &[f32], steps: Option<usize>) -> Result<Vec<f32>, Error> {
    let what = "the noise levels";
    let used = sigmas.strip_suffix(&[0.0]).unwrap_or(sigmas);
    let is_level = |sigma: &f32| *sigma > 0.0 && *sigma <= 1.0;
    if used.is_empty() || !used.iter().all(is_level) || !used.is_sorted_by(|a, b| a > b) {
        let range = "numbers from 1 downwards, each less than the one before it and above 0".into();
        return Err(Error::Range { what, range, found: format!("{sigmas:?}") });
    }
    match steps.filter(|steps| *steps != used.len()) {
        Some(steps) => {
            let (range, found) = (format!("as many as steps, {steps}"), used.len().to_string());
            Err(Error::Range { what: "the number of noise levels", range, found })
        }
        None => Ok(used.to_vec()),
    }
}

/// How many of `steps` steps are left out at this strength, as diffusers' `get_timesteps` counts them.
fn skipped(steps: usize, strength: f64) -> Result<usize, Error> {
    if !(0.0..=1.0).contains(&strength) {
        let (range, found) = ("a number from 0 to 1".into(), strength.to_string());
        return Err(Error::Range { what: "the strength", range, found });
    }
    let run = (steps as f64 * strength).min(steps as f64);
    let skipped = (steps as f64 - run).max(0.0) as usize;
    if skipped == steps {
        let range = format!("large enough for one of {steps} steps to run");
        return Err(Error::Range { what: "the strength", range, found: strength.to_string() });
    }
    Ok(skipped)
}
