//! The flow-matching Euler scheduler: the noise levels of a run and the step between two of them.
//!
//! This is `FlowMatchEulerDiscreteScheduler` of diffusers 0.42 as its `FluxPipeline` drives it,
//! with the same mix of single and double precision, so that schedules agree bit for bit.

use crate::settings::{Component, EXTENTS, FACTORS, Fixed, Settings, plausible, within};
use serde::Deserialize;

/// The settings of a `scheduler_config.json` that a FLUX.1 schedule depends on.
///
/// Absent settings have diffusers' defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Static shift of the noise levels, for use without `use_dynamic_shifting`.
    pub shift: f64,
    /// Whether the shift grows with the image, as [`Self::mu`] says.
    pub use_dynamic_shifting: bool,
    /// The dynamic shift at `base_image_seq_len` tokens.
    pub base_shift: f64,
    /// The dynamic shift at `max_image_seq_len` tokens.
    pub max_shift: f64,
    /// Image tokens at which the dynamic shift is `base_shift`.
    pub base_image_seq_len: usize,
    /// Image tokens at which the dynamic shift is `max_shift`.
    pub max_image_seq_len: usize,
    /// Length of the training schedule: the timestep of noise level 1.
    pub num_train_timesteps: usize,
}

/// The dynamic shifts that are accepted, either way: their exponentials, up to 10⁴, leave single precision something to tell
/// noise levels apart by.
const EXPONENTS: f64 = 10.0;

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
            num_train_timesteps: 1000,
        }
    }
}

impl Component for SchedulerConfig {
    const SETTINGS: Settings = Settings {
        fixed: &[
            ("_class_name", Fixed::Name(&["FlowMatchEulerDiscreteScheduler"])),
            ("time_shift_type", Fixed::Name(&["exponential"])),
            ("shift_terminal", Fixed::Off),
            ("invert_sigmas", Fixed::Off),
            ("stochastic_sampling", Fixed::Off),
            ("use_beta_sigmas", Fixed::Off),
            ("use_exponential_sigmas", Fixed::Off),
            ("use_flow_sigmas", Fixed::Off),
            ("use_karras_sigmas", Fixed::Off),
        ],
        without_effect: Some(&[]),
        fix: "give the scheduler_config.json of FLUX.1, with plain flow matching and Euler steps",
    };

    fn check(&self) -> Result<(), String> {
        within("num_train_timesteps", self.num_train_timesteps, EXTENTS)?;
        if !self.use_dynamic_shifting {
            return plausible("shift", self.shift, FACTORS);
        }
        let (base, max) = (self.base_image_seq_len, self.max_image_seq_len);
        if base == max {
            return Err(format!(
                "`base_image_seq_len` and `max_image_seq_len` are both {base}, so no shift can be interpolated between them"
            ));
        }
        within("base_image_seq_len", base, EXTENTS)?;
        within("max_image_seq_len", max, EXTENTS)?;
        // Noise levels are shifted by the exponential, in single precision.
        plausible("base_shift", self.base_shift, -EXPONENTS..=EXPONENTS)?;
        plausible("max_shift", self.max_shift, -EXPONENTS..=EXPONENTS)
    }
}

impl SchedulerConfig {
    /// The dynamic shift of an image of `image_tokens` tokens (a token covers 16 × 16 pixels):
    /// `calculate_shift` of diffusers, a line through the two configured points.
    pub fn mu(&self, image_tokens: usize) -> f64 {
        let base = self.base_image_seq_len as f64;
        let slope = (self.max_shift - self.base_shift) / (self.max_image_seq_len as f64 - base);
        image_tokens as f64 * slope + (self.base_shift - slope * base)
    }

    /// The same with the static shift `shift`.
    fn with_shift(&self, shift: f64) -> Self {
        Self { shift, use_dynamic_shifting: false, ..self.clone() }
    }

    /// The noise level `sigma` shifted; `mu` is used with dynamic shifting only.
    fn shifted(&self, sigma: f32, mu: f64) -> f32 {
        if self.use_dynamic_shifting {
            let shift = mu.exp() as f32;
            shift / (shift + (1.0 / sigma - 1.0))
        } else {
            self.shift as f32 * sigma / (1.0 + (self.shift - 1.0) as f32 * sigma)
        }
    }
}

/// Which noise levels a run has.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Those before the shift, from the first step's to the last one's.
    pub sigmas: Vec<f32>,
    /// A static shift in place of the model's own.
    pub shift: Option<f64>,
    /// How many of the first steps are left out, because a picture is there that has less noise.
    pub skipped: usize,
}

impl Levels {
    /// Those of `steps` steps, as far from each other as they are from 0.
    pub fn even(steps: usize) -> Self {
        let last = 1.0 / steps.max(1) as f64;
        let sigmas = linspace(1.0, last, steps).map(|sigma| sigma as f32).collect();
        Self { sigmas, shift: None, skipped: 0 }
    }
}

/// The noise levels of one run, from pure noise to none.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The noise level before each step and after the last one, which is 0.
    pub sigmas: Vec<f32>,
    /// The timestep of each step: its noise level times `num_train_timesteps`.
    pub timesteps: Vec<f32>,
}

impl Schedule {
    /// The schedule of `steps` steps for an image of `image_tokens` tokens.
    ///
    /// # Errors
    /// As [`Schedule::of`].
    pub fn new(config: &SchedulerConfig, steps: usize, image_tokens: usize) -> Result<Self, SchedulerError> {
        let max = config.num_train_timesteps;
        if !(1..=max).contains(&steps) {
            return Err(SchedulerError::Steps { steps, max });
        }
        Self::of(config, &Levels::even(steps), image_tokens)
    }

    /// The schedule of these noise levels for an image of `image_tokens` tokens.
    ///
    /// # Errors
    /// If there are no steps or more than the training schedule has, or the shift is too extreme.
    pub fn of(
        config: &SchedulerConfig,
        levels: &Levels,
        image_tokens: usize,
    ) -> Result<Self, SchedulerError> {
        let max = config.num_train_timesteps;
        let run = levels.sigmas.get(levels.skipped..).unwrap_or_default();
        if !(1..=max).contains(&run.len()) {
            return Err(SchedulerError::Steps { steps: run.len(), max });
        }
        let shifted = levels.shift.map(|shift| config.with_shift(shift));
        let config = shifted.as_ref().unwrap_or(config);
        let mu = config.mu(image_tokens);
        let mut sigmas: Vec<f32> = run.iter().map(|sigma| config.shifted(*sigma, mu)).collect();
        if !sigmas.iter().all(|sigma| sigma.is_finite() && *sigma > 0.0) {
            let shift = if config.use_dynamic_shifting { mu } else { config.shift };
            return Err(SchedulerError::Shift { shift, image_tokens });
        }
        let timesteps = sigmas.iter().map(|sigma| sigma * max as f32).collect();
        sigmas.push(0.0);
        Ok(Self { sigmas, timesteps })
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// `sample` with as much of `noise` in it as there is before step `index`, or after the last one: `σ·noise + (1 − σ)·sample`.
    ///
    /// # Panics
    /// If there is no such step or the slices differ in length: a bug of the caller.
    pub fn noised(&self, index: usize, sample: &[f32], noise: &[f32]) -> Vec<f32> {
        assert_eq!(sample.len(), noise.len(), "the sample and its noise differ in size");
        let sigma = self.sigmas[index];
        noise.iter().zip(sample).map(|(noise, sample)| sigma * noise + (1.0 - sigma) * sample).collect()
    }

    /// What `sample`, after step `index`, would be without noise if `velocity` were right: `sample − σ · velocity`.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn expected(&self, index: usize, sample: &[f32], velocity: &[f32]) -> Vec<f32> {
        let sigma = self.sigmas[index + 1];
        sample.iter().zip(velocity).map(|(value, slope)| value - sigma * slope).collect()
    }

    /// What step `index` multiplies the velocity by, `σ_{index+1} − σ_index`.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn change(&self, index: usize) -> f32 {
        self.sigmas[index + 1] - self.sigmas[index]
    }

    /// Takes step `index` (from 0) in place: `sample += (σ_{index+1} − σ_index) · velocity`,
    /// where `velocity` is the transformer's output at `timesteps[index]`. Returns whether all of the sample is finite.
    ///
    /// # Panics
    /// If there is no such step or the slices differ in length: a bug of the caller.
    pub fn step(&self, index: usize, sample: &mut [f32], velocity: &[f32]) -> bool {
        assert_eq!(sample.len(), velocity.len(), "the sample and its velocity differ in size");
        let change = self.change(index);
        let mut is_finite = true;
        // Without a way out in the middle, this is vector code.
        for (value, slope) in sample.iter_mut().zip(velocity) {
            *value += change * slope;
            is_finite &= value.is_finite();
        }
        is_finite
    }
}

/// `numpy.linspace(start, stop, count)`, whose last value is `stop` itself.
fn linspace(start: f64, stop: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = (stop - start) / count.saturating_sub(1).max(1) as f64;
    let end = if count == 1 { start } else { stop };
    (0..count.saturating_sub(1)).map(move |i| i as f64 * step + start).chain([end]).take(count)
}

/// A run for which the scheduler's configuration has no schedule.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The number of steps is 0 or above the length of the training schedule.
    #[error("the number of steps must be 1 to {max}, not {steps}")]
    Steps { steps: usize, max: usize },

    /// Shifted noise levels that are not positive numbers.
    #[error(
        "a shift of {shift} for {image_tokens} image tokens leaves no usable noise levels; \
         choose a smaller picture or correct the shift in the scheduler's configuration"
    )]
    Shift { shift: f64, image_tokens: usize },
}
