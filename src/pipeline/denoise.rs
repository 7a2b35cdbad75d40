//! The loop over steps: velocities from the denoiser, Euler's method between them.

use super::networks::Networks;
use super::pictures::Start;
use super::report::Record;
use super::resolved::Resolved;
use super::text::{Conditioning, filled, stack};
use crate::Error;
use reflux_ir::{HostTensor, Name};
use reflux_models::scheduler::Schedule;
use reflux_models::{Sizes, names};
use reflux_runtime::{Execute, Integral};
use std::borrow::Cow;
use std::collections::HashMap;

/// Pictures that go through the denoiser together.
pub(super) struct Batch {
    /// The number of the first.
    pub first: usize,
    /// What each is drawn from; at least one, and at most [`Resolved::at_once`].
    pub starts: Vec<Start>,
    /// The denoiser's inputs that depend on prompts and pictures, for a whole batch.
    pub conditioning: Conditioning,
}

/// Takes what the pictures of `batch` are drawn from to their packed latents, each `[1, tokens, channels]`.
pub(super) fn denoise(
    networks: &mut Networks,
    batch: Batch,
    schedule: &Schedule,
    request: &Resolved,
    record: &mut Record,
) -> Result<Vec<HostTensor>, Error> {
    let Batch { first, starts, conditioning } = batch;
    let denoiser = prepare(networks, &conditioning, schedule, request, record)?;
    record.enter("denoise");
    if let Some(all) = integrate(denoiser, first, &starts, schedule, request, record)? {
        for (image, latents) in (first..).zip(&all) {
            let net = networks.family().denoiser();
            networks.check_finite(net, &format!("in the steps of picture {image}"), latents)?;
        }
        return Ok(all);
    }
    let (pictures, shape) = (request.pictures(), starts[0].latents.shape.clone());
    let mut samples: Vec<Vec<f32>> = starts.iter().map(|start| start.latents.to_f32()).collect();
    for step in 0..request.steps {
        let Stepped { velocities, results } = run_step(denoiser, step, &shape, &samples, request)?;
        let ran = denoiser.ran().expect("a step has just run");
        record.results(first - pictures.start, step, ran, &results);
        for (index, (sample, velocity)) in samples.iter_mut().zip(&velocities).enumerate() {
            let is_finite = schedule.step(step, sample, velocity);
            if let Some(kept) = &starts[index].kept {
                kept.restore(sample, schedule, step + 1);
            }
            let image = first + index;
            if !is_finite {
                let when = format!("in step {} of {} of picture {image}", step + 1, request.steps);
                return Err(networks.not_finite(networks.family().denoiser(), when));
            }
            let image = image - pictures.start;
            record.step(image, pictures.len(), step, request.steps, Some(sample));
            let expected = || HostTensor::from_f32(shape.clone(), &schedule.expected(step, sample, velocity));
            if let Some(preview) = request.preview(step, expected) {
                record.preview(image, step, request.steps, &preview);
            }
        }
    }
    Ok(samples.iter().map(|sample| HostTensor::from_f32(shape.clone(), sample)).collect())
}

/// The final latents of each of `starts`, the first of which is that of picture `first`; `None` if the host has to take part in steps.
fn integrate(
    denoiser: &mut dyn Execute,
    first: usize,
    starts: &[Start],
    schedule: &Schedule,
    request: &Resolved,
    record: &mut Record,
) -> Result<Option<Vec<HostTensor>>, Error> {
    if !request.is_unwatched() || starts.iter().any(|start| start.kept.is_some()) {
        return Ok(None);
    }
    let start = stack(filled(starts, request.at_once()).map(|start| start.latents.clone()).collect());
    let changes: Vec<f32> = (0..request.steps).map(|step| schedule.change(step)).collect();
    let integral =
        Integral { input: names::LATENTS, slope: names::VELOCITY, start: &start, changes: &changes };
    let pictures = request.pictures();
    let mut observe = |step| {
        let first = first - pictures.start;
        for image in first..first + starts.len() {
            record.step(image, pictures.len(), step, request.steps, None);
        }
    };
    let Some(all) = denoiser.integrate(&integral, &mut observe)? else { return Ok(None) };
    let shape = &starts[0].latents.shape;
    let each = all.bytes.chunks(all.dtype.host_bytes(shape.iter().product()));
    let latents = |bytes: &[u8]| HostTensor::new(all.dtype, shape.clone(), bytes.to_vec());
    Ok(Some(each.take(starts.len()).map(latents).collect()))
}

/// The denoiser, loaded, with everything bound that is the same at every step, before the first.
pub(super) fn prepare<'n>(
    networks: &'n mut Networks,
    conditioning: &Conditioning,
    schedule: &Schedule,
    request: &Resolved,
    record: &mut Record,
) -> Result<&'n mut dyn Execute, Error> {
    let net = networks.family().denoiser();
    let sizes = request.sizes_of(net);
    let fixed = fixed_inputs(networks, conditioning, schedule, request, &sizes);
    let strengths = networks.strengths();
    let denoiser = networks.get(net, sizes, record)?;
    denoiser.reset();
    for (input, value) in &fixed {
        denoiser.bind(input, value)?;
    }
    for (input, strength) in strengths {
        if denoiser.program().inputs.iter().any(|declared| declared.name == input) {
            denoiser.bind(&input, &strength)?;
        }
    }
    Ok(denoiser)
}

/// What a step has given.
pub(super) struct Stepped {
    /// Of each picture.
    pub velocities: Vec<Vec<f32>>,
    /// All that the denoiser returns.
    pub results: HashMap<Name, HostTensor>,
}

/// Runs `step` at `samples`, packed latents of `shape`, `[1, tokens, channels]`.
pub(super) fn run_step(
    denoiser: &mut dyn Execute,
    step: usize,
    shape: &[usize],
    samples: &[Vec<f32>],
    request: &Resolved,
) -> Result<Stepped, Error> {
    let (batch, each) = (request.denoiser_batch(), request.per_picture());
    let all = filled(samples, request.at_once()).flat_map(|sample| std::iter::repeat_n(sample, each));
    let latents: Vec<&[f32]> = all.map(Vec::as_slice).collect();
    let latents = latents.concat();
    denoiser.bind(names::LATENTS, &HostTensor::from_f32([batch, shape[1], shape[2]], &latents))?;
    let results = denoiser.step(step)?;
    let velocities = results[names::VELOCITY].to_f32();
    let of_picture = |velocity: &[f32]| match request.negative() {
        Some(_) => guide(velocity, request.true_cfg_scale),
        None => velocity.to_vec(),
    };
    let velocities = velocities.chunks(each * shape[1] * shape[2]).map(of_picture);
    Ok(Stepped { velocities: velocities.take(samples.len()).collect(), results })
}

/// The denoiser's inputs that are the same at every step.
pub(super) fn fixed_inputs<'c>(
    networks: &Networks,
    conditioning: &'c Conditioning,
    schedule: &Schedule,
    request: &Resolved,
    sizes: &Sizes,
) -> Vec<(&'static str, Cow<'c, HostTensor>)> {
    let (model, dtype, batch) = (networks.config(), networks.dtype(), sizes.batch);
    let mut inputs: Vec<_> =
        conditioning.iter().map(|(input, value)| (*input, Cow::Borrowed(value))).collect();
    let each = |t: &f32| vec![model.timestep(*t, dtype); batch];
    let timesteps: Vec<f32> = schedule.timesteps.iter().flat_map(each).collect();
    inputs.push((names::TIMESTEPS, Cow::Owned(HostTensor::from_f32([sizes.steps, batch], &timesteps))));
    if model.is_guided() {
        let guidance = vec![request.guidance; batch];
        inputs.push((names::GUIDANCE, Cow::Owned(HostTensor::from_f32([batch], &guidance))));
    }
    inputs
}

/// Classifier-free guidance over a batch of (positive, negative): `negative + scale · (positive − negative)`.
fn guide(velocity: &[f32], scale: f32) -> Vec<f32> {
    let (positive, negative) = velocity.split_at(velocity.len() / 2);
    positive
        .iter()
        .zip(negative)
        .map(|(positive, negative)| negative + scale * (positive - negative))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_extrapolates_from_the_negative() {
        assert_eq!(guide(&[3.0, 1.0, 1.0, 2.0], 2.0), [5.0, 0.0]);
    }
}
