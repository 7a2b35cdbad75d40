//! Rules by which steps compute or reuse.

use super::mask::StepMask;
use super::options::Options;
use reflux_ir::pass::OptionInfo;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A rule by which steps compute, with its options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CacheSchedule {
    Periodic(Periodic),
    Windowed(Windowed),
    Refreshed(Refreshed),
}

impl CacheSchedule {
    /// What the rule can be told.
    pub fn options(&self) -> Vec<OptionInfo> {
        match self {
            Self::Periodic(_) => Periodic::described(),
            Self::Windowed(_) => Windowed::described(),
            Self::Refreshed(_) => Refreshed::described(),
        }
    }

    /// The rule with those options of `given` that are its own.
    pub fn with(&self, given: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(match self {
            Self::Periodic(options) => Self::Periodic(options.overlaid(given)?),
            Self::Windowed(options) => Self::Windowed(options.overlaid(given)?),
            Self::Refreshed(options) => Self::Refreshed(options.overlaid(given)?),
        })
    }

    /// Which of the steps at `steps`, by index, compute, where steps have the times `timesteps` in 0…1000, if these are known.
    /// `method` is what the rule belongs to, for errors.
    pub fn mask(&self, method: &str, steps: &[usize], timesteps: Option<&[f32]>) -> Result<StepMask, String> {
        let rule = match self {
            Self::Periodic(rule) => return Ok(rule.mask(steps.len())),
            Self::Refreshed(rule) => return Ok(rule.mask(steps.len())),
            Self::Windowed(rule) => rule,
        };
        let Some(times) = timesteps else {
            let example = Periodic { interval: rule.interval, start_step: 2 }.mask(steps.len());
            return Err(format!(
                "{method} chooses steps by their timesteps, which are not known here; name the steps that compute, as in steps={example}"
            ));
        };
        let times: Option<Vec<f32>> = steps.iter().map(|&step| times.get(step).copied()).collect();
        let times = times.ok_or("there are more steps than timesteps")?;
        Ok(rule.mask(&times))
    }

    /// Why every step computes, where one does.
    pub fn why_all_compute(&self) -> String {
        match self {
            Self::Periodic(Periodic { interval, start_step }) => {
                format!("with interval={interval} and start_step={start_step} there are too few steps")
            }
            Self::Refreshed(Refreshed { interval, initial_steps }) => {
                format!("with interval={interval} and initial_steps={initial_steps} there are too few steps")
            }
            Self::Windowed(Windowed { window: [low, high], .. }) => {
                format!("too few of their timesteps lie in the window, between {low} and {high}")
            }
        }
    }
}

/// The steps before `start_step` compute, then every `interval`-th from there on, and the first in any case (Pruna,
/// `algorithms/fora.py`, `get_cache_schedule`; with `start_step` 0, the FORA paper's).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Periodic {
    /// Compute every `interval`-th step (1 to 5).
    #[serde(default = "every_second")]
    pub interval: usize,
    /// Compute all steps before this one (0 to 10).
    pub start_step: usize,
}

/// Steps of a time in the window, bounds excluded, compute if their number is a multiple of `interval`; others always
/// do (diffusers, `PyramidAttentionBroadcastHook`). `FasterCacheBlockHook` differs in the first step alone, which in the
/// window it does not compute, and then fails for want of something to reuse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Windowed {
    /// Compute every `interval`-th step (1 to 5).
    #[serde(default = "every_second")]
    pub interval: usize,
    /// Reuse only in steps whose timestep (0…1000) lies strictly between these two.
    pub window: [f64; 2],
}

/// The first `initial_steps` compute, and of those that follow, in each `interval`, the second: the first of them reuses what
/// the initial steps have made (diffusers, `TaylorSeerCacheHook`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refreshed {
    /// Compute every `interval`-th step (1 to 5).
    #[serde(default = "every_second")]
    pub interval: usize,
    /// Compute this many steps at the start (1 to 10).
    pub initial_steps: usize,
}

const fn every_second() -> usize {
    2
}

fn check_interval(interval: usize) -> Result<(), String> {
    match interval {
        1..=5 => Ok(()),
        _ => Err(format!("interval must be 1 to 5, not {interval}")),
    }
}

impl Periodic {
    /// Every second step from `start_step` on.
    pub const fn from_step(start_step: usize) -> Self {
        Self { interval: every_second(), start_step }
    }

    fn mask(&self, steps: usize) -> StepMask {
        let Self { interval, start_step: start } = *self;
        let computes = |step: usize| step < start || (step - start).is_multiple_of(interval);
        StepMask((0..steps).map(|step| step == 0 || computes(step)).collect())
    }
}

impl Refreshed {
    /// Every second step after the first `initial_steps`.
    pub const fn after(initial_steps: usize) -> Self {
        Self { interval: every_second(), initial_steps }
    }

    fn mask(&self, steps: usize) -> StepMask {
        let Self { interval, initial_steps: initial } = *self;
        let computes =
            |step: usize| step < initial || (step + interval - initial - 1).is_multiple_of(interval);
        StepMask((0..steps).map(computes).collect())
    }
}

impl Windowed {
    /// Every second step in `window`.
    pub const fn within(window: [f64; 2]) -> Self {
        Self { interval: every_second(), window }
    }

    fn mask(&self, times: &[f32]) -> StepMask {
        let [low, high] = self.window;
        let is_within = |time: f32| (low as f32) < time && time < high as f32;
        let computes = |(step, time): (usize, &f32)| !is_within(*time) || step.is_multiple_of(self.interval);
        StepMask(times.iter().enumerate().map(computes).collect())
    }
}

impl Options for Periodic {
    fn check(&self) -> Result<(), String> {
        check_interval(self.interval)?;
        match self.start_step {
            0..=10 => Ok(()),
            start => Err(format!("start_step must be 0 to 10, not {start}")),
        }
    }
}

impl Options for Refreshed {
    fn check(&self) -> Result<(), String> {
        check_interval(self.interval)?;
        match self.initial_steps {
            1..=10 => Ok(()),
            initial => Err(format!("initial_steps must be 1 to 10, not {initial}")),
        }
    }
}

impl Options for Windowed {
    fn check(&self) -> Result<(), String> {
        check_interval(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_is_prunas() {
        let periodic = |steps, interval, start_step| Periodic { interval, start_step }.mask(steps);
        let printed = |steps, interval| periodic(steps, interval, 2).to_string();
        assert_eq!(printed(28, 2), "1110101010101010101010101010");
        assert_eq!(printed(28, 3), "1110010010010010010010010010");
        assert_eq!(printed(28, 4), "1110001000100010001000100010");
        let computed = |steps, interval| periodic(steps, interval, 2).computed();
        assert_eq!([computed(28, 2), computed(28, 3), computed(28, 4)], [15, 11, 9]);
        assert_eq!([computed(50, 2), computed(50, 3), computed(50, 4)], [26, 18, 14]);
        assert!(periodic(28, 1, 2).all_compute());
        assert!(periodic(5, 3, 10).all_compute());
        assert_eq!(periodic(7, 3, 0).to_string(), "1001001");
    }
}
