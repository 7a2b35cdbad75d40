//! Rules by which steps compute or reuse.

use super::gate::{Accumulated, FirstBlock, Gate};
use super::mask::StepMask;
use super::options::{Options, numbers};
use reflux_ir::pass::OptionInfo;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A rule by which steps compute, with its options.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CacheSchedule {
    Periodic(Periodic),
    Windowed(Windowed),
    Refreshed(Refreshed),
    Magnitudes(Magnitudes),
    Widening(Widening),
    FirstBlock(FirstBlock),
    Accumulated(Accumulated),
}

/// When it is decided which steps compute.
pub enum Decided<'m> {
    /// Before the first of them.
    Before(StepMask),
    /// In each, by its own numbers.
    InEachStep(Gate<'m>),
}

impl CacheSchedule {
    /// What the rule can be told.
    pub fn options(&self) -> Vec<OptionInfo> {
        match self {
            Self::Periodic(_) => Periodic::described(),
            Self::Windowed(_) => Windowed::described(),
            Self::Refreshed(_) => Refreshed::described(),
            Self::Magnitudes(_) => Magnitudes::described(),
            Self::Widening(_) => Widening::described(),
            Self::FirstBlock(_) => FirstBlock::described(),
            Self::Accumulated(_) => Accumulated::described(),
        }
    }

    /// The rule with those options of `given` that are its own.
    pub fn with(&self, given: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        Ok(match self {
            Self::Periodic(options) => Self::Periodic(options.overlaid(given)?),
            Self::Windowed(options) => Self::Windowed(options.overlaid(given)?),
            Self::Refreshed(options) => Self::Refreshed(options.overlaid(given)?),
            Self::Magnitudes(options) => Self::Magnitudes(options.overlaid(given)?),
            Self::Widening(options) => Self::Widening(options.overlaid(given)?),
            Self::FirstBlock(options) => Self::FirstBlock(options.overlaid(given)?),
            Self::Accumulated(options) => Self::Accumulated(options.overlaid(given)?),
        })
    }

    /// Which of the steps at `steps`, by index, compute, where steps have the times `timesteps` in 0…1000, if these are known.
    /// `method` is what the rule belongs to, for errors.
    pub fn decided(
        &self,
        method: &str,
        steps: &[usize],
        timesteps: Option<&[f32]>,
    ) -> Result<Decided<'_>, String> {
        let mask = match self {
            Self::Periodic(rule) => rule.mask(steps.len()),
            Self::Refreshed(rule) => rule.mask(steps.len()),
            Self::Magnitudes(rule) => rule.mask(method, steps.len())?,
            Self::Widening(rule) => rule.mask(steps.len()),
            Self::Windowed(rule) => rule.at_times(method, steps, timesteps)?,
            Self::FirstBlock(rule) => return Ok(Decided::InEachStep(Gate::FirstBlock(rule))),
            Self::Accumulated(rule) => return Ok(Decided::InEachStep(Gate::Accumulated(rule))),
        };
        Ok(Decided::Before(mask))
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
            Self::Magnitudes(Magnitudes { threshold, retention_ratio, .. }) => format!(
                "with threshold={threshold:?} and retention_ratio={retention_ratio:?} the ratios allow none"
            ),
            Self::Widening(Widening { initial_steps, spacing, growth }) => format!(
                "with initial_steps={initial_steps}, spacing={spacing:?} and growth={growth:?} there are too few steps"
            ),
            Self::FirstBlock(_) | Self::Accumulated(_) => {
                "none is left to choose in, as the first has nothing to reuse".to_owned()
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

/// The first `initial_steps` compute, and of those that follow one of `spacing`, which grows with each that computes (Spectrum, its
/// code's `flux_forward.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Widening {
    /// Compute this many steps at the start (1 to 10).
    pub initial_steps: usize,
    /// Compute one of this many steps after those, rounded down (1 to 10).
    pub spacing: f64,
    /// Add this to `spacing` after each step that computes (0 to 10).
    pub growth: f64,
}

/// The first steps compute. Of the others, one reuses while the magnitude of what blocks add is expected to be near that of what
/// is reused: the product of the ratios since the last computed step is summed up as its distance from 1 (diffusers,
/// `MagCacheHeadHook`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Magnitudes {
    /// For each step, the mean over tokens of the magnitude of what all blocks add to the picture's stream, divided by that of the
    /// step before, as measured on the checkpoint; the first is 1. For another number of steps, the nearest are taken. `magcache` needs
    /// them, unless `steps` says which steps compute; `reflux calibrate` measures them.
    #[serde(deserialize_with = "ratios")]
    pub ratios: Vec<f64>,
    /// Reuse while the summed error is at most this (0 to 10).
    pub threshold: f64,
    /// Reuse at most this many steps in a row (1 to 10).
    pub max_skip_steps: usize,
    /// Compute this part of the steps at the start (0 to 1).
    pub retention_ratio: f64,
}

fn ratios<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    numbers("ratios", deserializer)
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

fn check_initial(steps: usize) -> Result<(), String> {
    match steps {
        1..=10 => Ok(()),
        _ => Err(format!("initial_steps must be 1 to 10, not {steps}")),
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

impl Widening {
    fn mask(&self, steps: usize) -> StepMask {
        let (mut spacing, mut reused) = (self.spacing, 0);
        let computes = |step: usize| {
            if step < self.initial_steps {
                return true;
            }
            let computes = reused + 1 >= spacing as usize;
            if computes {
                // The code rounds too, so that sums of decimal fractions are what they are on paper.
                spacing = ((spacing + self.growth) * 1000.0).round() / 1000.0;
            }
            reused = if computes { 0 } else { reused + 1 };
            computes
        };
        StepMask((0..steps).map(computes).collect())
    }
}

impl Magnitudes {
    /// diffusers' defaults, without ratios: these are the checkpoint's.
    pub const fn unmeasured() -> Self {
        Self { ratios: Vec::new(), threshold: 0.06, max_skip_steps: 3, retention_ratio: 0.2 }
    }

    fn mask(&self, method: &str, steps: usize) -> Result<StepMask, String> {
        let Some(last) = self.ratios.len().checked_sub(1) else {
            let example = Periodic { interval: every_second(), start_step: 2 }.mask(steps);
            return Err(format!(
                "{method} chooses steps by ratios measured on the checkpoint; give them, as in ratios=[1.0,1.2,1.1], or name \
                 the steps that compute, as in steps={example}"
            ));
        };
        // numpy rounds halves to even numbers.
        let nearest = |step: usize| match steps {
            1 => last,
            _ => (step as f64 * (last as f64 / (steps - 1) as f64)).round_ties_even() as usize,
        };
        let retained = (self.retention_ratio * steps as f64 + 0.5) as usize;
        let (mut ratio, mut error, mut skipped) = (1.0, 0.0, 0);
        let computes = |step: usize| {
            if step < retained {
                return true;
            }
            ratio *= self.ratios[nearest(step)];
            error += f64::abs(1.0 - ratio);
            skipped += 1;
            let computes = step == 0 || error > self.threshold || skipped > self.max_skip_steps;
            if computes {
                (ratio, error, skipped) = (1.0, 0.0, 0);
            }
            computes
        };
        Ok(StepMask((0..steps).map(computes).collect()))
    }
}

impl Windowed {
    /// Every second step in `window`.
    pub const fn within(window: [f64; 2]) -> Self {
        Self { interval: every_second(), window }
    }

    /// The mask of the steps at `steps` of all, whose times are `timesteps`.
    fn at_times(&self, method: &str, steps: &[usize], timesteps: Option<&[f32]>) -> Result<StepMask, String> {
        let Some(times) = timesteps else {
            let example = Periodic { interval: self.interval, start_step: 2 }.mask(steps.len());
            return Err(format!(
                "{method} chooses steps by their timesteps, which are not known here; name the steps that compute, as in steps={example}"
            ));
        };
        let times: Option<Vec<f32>> = steps.iter().map(|&step| times.get(step).copied()).collect();
        Ok(self.mask(&times.ok_or("there are more steps than timesteps")?))
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
        check_initial(self.initial_steps)
    }
}

impl Options for Widening {
    fn check(&self) -> Result<(), String> {
        check_initial(self.initial_steps)?;
        let Self { spacing, growth, .. } = self;
        match () {
            () if !(1.0..=10.0).contains(spacing) => {
                Err(format!("spacing must be between 1 and 10, not {spacing:?}"))
            }
            () if !(0.0..=10.0).contains(growth) => {
                Err(format!("growth must be between 0 and 10, not {growth:?}"))
            }
            () => Ok(()),
        }
    }
}

impl Options for Magnitudes {
    fn check(&self) -> Result<(), String> {
        let Self { ratios, threshold, max_skip_steps, retention_ratio } = self;
        if let Some(ratio) = ratios.iter().find(|&&ratio| !(0.01..=100.0).contains(&ratio)) {
            return Err(format!("ratios must be between 0.01 and 100, not {ratio:?}"));
        }
        match () {
            () if !(0.0..=10.0).contains(threshold) => {
                Err(format!("threshold must be between 0 and 10, not {threshold:?}"))
            }
            () if !(1..=10).contains(max_skip_steps) => {
                Err(format!("max_skip_steps must be 1 to 10, not {max_skip_steps}"))
            }
            () if !(0.0..=1.0).contains(retention_ratio) => {
                Err(format!("retention_ratio must be between 0 and 1, not {retention_ratio:?}"))
            }
            () => Ok(()),
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
