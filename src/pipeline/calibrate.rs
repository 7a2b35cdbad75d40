//! Measuring what caching methods need to know of a checkpoint.

use super::compiled::Compiled;
use super::diffusion::DiffusionPipeline;
use super::measured::Calibration;
use super::options::OpenOptions;
use super::registry::registry;
use super::report::Event;
use super::request::Request;
use crate::{Error, VERSION};
use reflux_ir::pass::{Recipe, counted};
use reflux_ir::{DType, HostTensor, Name};
use reflux_models::{ModelConfig, ModelFiles, names};
use reflux_passes::{Measured, Method, polynomial_through};
use std::collections::{BTreeMap, HashMap};

/// Draws the pictures of `request` with the model of `files`, and measures the option of `method` that depends on the checkpoint.
/// What happens is told to `observe`.
///
/// # Errors
/// If `method` has no such option, a picture cannot be drawn, or there are too few steps to measure it.
pub fn calibrate(
    files: ModelFiles,
    options: OpenOptions,
    method: &Method,
    request: &Request,
    observe: &mut dyn FnMut(Event),
) -> Result<Calibration, Error> {
    let usage = |why: String| Error::Usage(format!("{method} cannot be calibrated: {why}"));
    let option = method.measured_option().ok_or_else(|| usage("it needs nothing of a checkpoint".into()))?;
    Compiled::refuse(&files, "calibrate")?;
    let config = ModelConfig::of(&files)?;
    let smallest =
        config.lower(config.family().denoiser(), &config.family().geometry.smallest(), DType::F32)?;
    let measured = method.measured(&smallest).map_err(usage)?;
    let taps: Vec<String> = tapped(&measured).iter().map(|value| format!("tap({value})")).collect();
    let passes = Recipe::parse(&taps.join(","), &registry())?;
    let mut pipeline = DiffusionPipeline::open_files(files, OpenOptions { passes, ..options })?;
    let steps = pipeline.sizes(request)?.steps;
    let least = measured.least_steps(request.pictures()?);
    if steps < least {
        let range = format!(
            "at least {least}, so that {method} can be calibrated on {}",
            counted(request.pictures()?, "picture")
        );
        return Err(Error::Range { what: "the number of steps", range, found: steps.to_string() });
    }
    let mut meter = Meter::new(measured);
    let mut watch = |event: Event| {
        if let Event::Results { step, results, .. } = event {
            meter.take(step, results);
        }
        observe(event);
    };
    let request = &Request { unwatched: false, ..request.clone() };
    let report = pipeline.generate_each(request, &mut watch, &mut |_| Ok(()))?;
    let values = meter.values(report.steps).map_err(usage)?;
    Ok(Calibration {
        version: VERSION.to_owned(),
        method: method.name.to_owned(),
        model: report.model,
        steps: report.steps,
        width: report.width,
        height: report.height,
        seed: report.seed,
        prompts: request.prompts.clone(),
        values: BTreeMap::from([(option.to_owned(), values)]),
    })
}

/// The values to return from the network.
fn tapped(measured: &Measured) -> Vec<&str> {
    match measured {
        Measured::Stream { end, start } => vec![end, start],
        Measured::Input(input) => vec![input],
    }
}

/// What is measured from step to step, over all pictures.
struct Meter {
    measured: Measured,
    /// What the step before has made: for a stream the magnitude of each token's change, else the input and the result.
    before: Option<[Vec<f32>; 2]>,
    /// The number of the step, and what was measured in it: a ratio and nothing, or the changes of input and result.
    samples: Vec<(usize, [f64; 2])>,
}

impl Meter {
    fn new(measured: Measured) -> Self {
        Self { measured, before: None, samples: Vec::new() }
    }

    fn take(&mut self, step: usize, results: &HashMap<Name, HostTensor>) {
        let now = match &self.measured {
            Measured::Stream { end, start } => [magnitudes(&results[end], &results[start]), Vec::new()],
            Measured::Input(input) => [results[input].to_f32(), results[names::VELOCITY].to_f32()],
        };
        // A picture begins with nothing before it.
        if let Some([a, b]) = self.before.take().filter(|_| step > 0) {
            let sample = match &self.measured {
                Measured::Stream { .. } => [mean_ratio(&now[0], &a), 0.0],
                Measured::Input(_) => [relative_change(&now[0], &a), relative_change(&now[1], &b)],
            };
            self.samples.push((step, sample));
        }
        self.before = Some(now);
    }

    /// The option of a method for pictures of `steps` steps, or why it cannot be told.
    fn values(self, steps: usize) -> Result<Vec<f64>, String> {
        let few = || "its option takes more steps, or more prompts, to be told".to_owned();
        let values = match self.measured {
            Measured::Stream { .. } if steps < 2 => return Err(few()),
            Measured::Stream { .. } => (0..steps).map(|step| self.mean(step)).collect(),
            Measured::Input(_) => {
                let samples: Vec<_> = self.samples.into_iter().map(|(_, sample)| sample).collect();
                polynomial_through(&samples).ok_or_else(few)?
            }
        };
        let is_number = |value: &f64| value.is_finite();
        values
            .iter()
            .all(is_number)
            .then_some(values)
            .ok_or_else(|| "a step changes nothing at all".to_owned())
    }

    /// The mean of what was measured in `step` over all pictures; 1 for the first.
    fn mean(&self, step: usize) -> f64 {
        let of_step: Vec<f64> =
            self.samples.iter().filter(|(at, _)| *at == step).map(|(_, [ratio, _])| *ratio).collect();
        if step == 0 { 1.0 } else { of_step.iter().sum::<f64>() / of_step.len() as f64 }
    }
}

/// The L2 norm of `end - start` of each token; both are `[batch, tokens, channels]`.
fn magnitudes(end: &HostTensor, start: &HostTensor) -> Vec<f32> {
    let channels = *end.shape.last().expect("a stream has channels");
    let change =
        end.to_f32().into_iter().zip(start.to_f32()).map(|(end, start)| f64::from(end) - f64::from(start));
    let change: Vec<f64> = change.collect();
    change.chunks(channels).map(|token| token.iter().map(|x| x * x).sum::<f64>().sqrt() as f32).collect()
}

/// The mean over tokens of `now / before` (diffusers, `hooks/mag_cache.py`, which adds the same to the divisor).
fn mean_ratio(now: &[f32], before: &[f32]) -> f64 {
    let ratios = now.iter().zip(before).map(|(now, before)| f64::from(*now) / (f64::from(*before) + 1e-8));
    ratios.sum::<f64>() / now.len() as f64
}

/// `mean|now - before| / mean|before|` over all elements.
fn relative_change(now: &[f32], before: &[f32]) -> f64 {
    let moved = now.iter().zip(before).map(|(now, before)| f64::from((now - before).abs())).sum::<f64>();
    moved / before.iter().map(|before| f64::from(before.abs())).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> HostTensor {
        HostTensor::from_f32([1, 2, 2], values)
    }

    fn results(values: [(&str, &[f32]); 2]) -> HashMap<Name, HostTensor> {
        values.map(|(name, values)| (Name::from(name), tensor(values))).into()
    }

    /// Two tokens: of one the change doubles, of the other it stays, in the first picture; in the second both stay.
    #[test]
    fn ratios_are_means_over_tokens_and_pictures() {
        let mut meter = Meter::new(Measured::Stream { end: "end".into(), start: "start".into() });
        let start = ("start", &[1.0; 4][..]);
        for second in [&[7.0, 9.0, 1.0, 2.0], &[4.0, 5.0, 1.0, 2.0]] {
            meter.take(0, &results([("end", &[4.0, 5.0, 1.0, 2.0]), start]));
            meter.take(1, &results([("end", second), start]));
        }
        let values = meter.values(2).unwrap();
        assert_eq!(values[0], 1.0);
        assert!((values[1] - 1.25).abs() < 1e-6, "{values:?}");
    }

    #[test]
    fn changes_are_relative_to_the_step_before() {
        assert_eq!(relative_change(&[1.0, -3.0], &[2.0, -2.0]), 0.5);
        let few = Meter::new(Measured::Input("in".into())).values(20).unwrap_err();
        assert!(few.contains("more steps"), "{few}");
    }
}
