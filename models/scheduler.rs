//! The flow-matching Euler scheduler: the noise levels of a run and the step between two of them.
//!
//! This is `FlowMatchEulerDiscreteScheduler` of diffusers 0.42 as its `FluxPipeline` drives it,
//! with the same mix of single and double precision, so that schedules agree bit for bit.

use serde::Deserialize;
use std::path::{Path, PathBuf};

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

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`, ignoring settings that diffusers does not know either.
    ///
    /// # Errors
    /// If the file cannot be read, is no such configuration, or asks for another kind of schedule.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SchedulerError> {
        let path = path.as_ref();
        let json = std::fs::read(path)
            .map_err(|source| SchedulerError::Unreadable { path: path.to_owned(), source })?;
        let malformed = |source| SchedulerError::Malformed { path: path.to_owned(), source };
        let variant: Variant = serde_json::from_slice(&json).map_err(malformed)?;
        if let Some((setting, value)) = variant.unsupported() {
            return Err(SchedulerError::Unsupported { path: path.to_owned(), setting, value });
        }
        serde_json::from_slice(&json).map_err(malformed)
    }

    /// The dynamic shift of an image of `image_tokens` tokens (a token covers 16 × 16 pixels):
    /// `calculate_shift` of diffusers, a line through the two configured points.
    pub fn mu(&self, image_tokens: usize) -> f64 {
        let base = self.base_image_seq_len as f64;
        let slope = (self.max_shift - self.base_shift) / (self.max_image_seq_len as f64 - base);
        image_tokens as f64 * slope + (self.base_shift - slope * base)
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

/// The settings that select another kind of schedule than FLUX.1's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Variant {
    _class_name: Option<String>,
    time_shift_type: Option<String>,
    shift_terminal: Option<f64>,
    invert_sigmas: bool,
    stochastic_sampling: bool,
    use_beta_sigmas: bool,
    use_exponential_sigmas: bool,
    use_flow_sigmas: bool,
    use_karras_sigmas: bool,
}

impl Variant {
    /// The first setting that is not at its default, and its value.
    fn unsupported(&self) -> Option<(&'static str, String)> {
        let other = |value: &Option<String>, default| value.clone().filter(|value| value != default);
        let on = |flag: bool| flag.then(|| "true".to_owned());
        [
            ("_class_name", other(&self._class_name, "FlowMatchEulerDiscreteScheduler")),
            ("time_shift_type", other(&self.time_shift_type, "exponential")),
            // Like diffusers, which tests the truth of it, take 0 for absent.
            (
                "shift_terminal",
                self.shift_terminal.filter(|&sigma| sigma != 0.0).map(|sigma| sigma.to_string()),
            ),
            ("invert_sigmas", on(self.invert_sigmas)),
            ("stochastic_sampling", on(self.stochastic_sampling)),
            ("use_beta_sigmas", on(self.use_beta_sigmas)),
            ("use_exponential_sigmas", on(self.use_exponential_sigmas)),
            ("use_flow_sigmas", on(self.use_flow_sigmas)),
            ("use_karras_sigmas", on(self.use_karras_sigmas)),
        ]
        .into_iter()
        .find_map(|(setting, value)| value.map(|value| (setting, value)))
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
    /// If `steps` is 0 or more than the training schedule has, or the shift is too extreme.
    pub fn new(config: &SchedulerConfig, steps: usize, image_tokens: usize) -> Result<Self, SchedulerError> {
        let max = config.num_train_timesteps;
        if !(1..=max).contains(&steps) {
            return Err(SchedulerError::Steps { steps, max });
        }
        let mu = config.mu(image_tokens);
        let mut sigmas: Vec<f32> =
            linspace(1.0, 1.0 / steps as f64, steps).map(|sigma| config.shifted(sigma as f32, mu)).collect();
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

    /// Takes step `index` (from 0) in place: `sample += (σ_{index+1} − σ_index) · velocity`,
    /// where `velocity` is the transformer's output at `timesteps[index]`.
    ///
    /// # Panics
    /// If there is no such step or the slices differ in length: a bug of the caller.
    pub fn step(&self, index: usize, sample: &mut [f32], velocity: &[f32]) {
        assert_eq!(sample.len(), velocity.len(), "the sample and its velocity differ in size");
        let change = self.sigmas[index + 1] - self.sigmas[index];
        for (value, slope) in sample.iter_mut().zip(velocity) {
            *value += change * slope;
        }
    }
}

/// `numpy.linspace(start, stop, count)`, whose last value is `stop` itself; `count` is not 0.
fn linspace(start: f64, stop: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = (stop - start) / (count - 1).max(1) as f64;
    (0..count - 1).map(move |i| i as f64 * step + start).chain([if count == 1 { start } else { stop }])
}

/// A scheduler configuration that cannot be used, or a run that it gives no schedule for.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The file could not be read.
    #[error("cannot read the scheduler configuration {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    /// The file is not JSON, or a setting in it has a value of the wrong type.
    #[error("{} is no scheduler configuration: {source}", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },

    /// The configuration asks for a schedule that FLUX.1 does not use.
    #[error(
        "{}: the scheduler setting `{setting}` = {value} is not supported; only FLUX.1's plain \
         flow-matching Euler schedule is, so remove the setting",
        path.display()
    )]
    Unsupported { path: PathBuf, setting: &'static str, value: String },

    /// The number of steps is 0 or above the length of the training schedule.
    #[error("a run of {steps} steps is not possible; choose between 1 and {max}")]
    Steps { steps: usize, max: usize },

    /// Shifted noise levels that are no positive numbers.
    #[error(
        "a shift of {shift} for {image_tokens} image tokens leaves no usable noise levels; \
         choose a smaller image or correct the shift in the scheduler's configuration"
    )]
    Shift { shift: f64, image_tokens: usize },
}
