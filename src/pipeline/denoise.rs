//! The loop over steps: velocities from the denoiser, Euler's method between them.

use super::networks::Networks;
use super::pictures::Start;
use super::report::Record;
use super::resolved::Resolved;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::scheduler::Schedule;
use reflux_models::{Sizes, names};
use std::borrow::Cow;

/// Takes what picture `image` is drawn from to its packed latents `[1, tokens, channels]`.
pub(super) fn denoise<'c>(
    networks: &mut Networks,
    Start { latents, kept }: Start,
    conditioning: impl IntoIterator<Item = &'c (&'static str, HostTensor)>,
    schedule: &Schedule,
    request: &Resolved,
    image: usize,
    record: &mut Record,
) -> Result<HostTensor, Error> {
    let net = networks.family().denoiser();
    let sizes = request.sizes_of(net);
    let fixed = fixed_inputs(networks, conditioning, schedule, request, &sizes);
    let strengths = networks.strengths();
    let denoiser = networks.get(net, sizes, record)?;
    record.enter("denoise");
    denoiser.reset();
    for (input, value) in &fixed {
        denoiser.bind(input, value)?;
    }
    for (input, strength) in strengths {
        if denoiser.program().inputs.iter().any(|declared| declared.name == input) {
            denoiser.bind(&input, &strength)?;
        }
    }
    let shape = [sizes.batch, latents.shape[1], latents.shape[2]];
    let mut sample = latents.to_f32();
    for step in 0..request.steps {
        let batch = HostTensor::from_f32(shape, &sample.repeat(sizes.batch));
        denoiser.bind(names::LATENTS, &batch)?;
        let results = denoiser.step(step)?;
        let ran = denoiser.ran().expect("a step has just run");
        record.results(image - request.pictures().start, step, ran, &results);
        let velocity = results[names::VELOCITY].to_f32();
        let velocity = match request.negative() {
            Some(_) => guide(&velocity, request.true_cfg_scale),
            None => velocity,
        };
        schedule.step(step, &mut sample, &velocity);
        if let Some(kept) = &kept {
            kept.restore(&mut sample, schedule, step + 1);
        }
        if !sample.iter().all(|value| value.is_finite()) {
            let when = format!("in step {} of {} of picture {image}", step + 1, request.steps);
            return Err(networks.not_finite(net, when));
        }
        let pictures = request.pictures();
        record.step(image - pictures.start, pictures.len(), step, request.steps, &sample);
        let expected =
            || HostTensor::from_f32(latents.shape.clone(), &schedule.expected(step, &sample, &velocity));
        if let Some(preview) = request.preview(step, expected) {
            record.preview(image - pictures.start, step, request.steps, &preview);
        }
    }
    Ok(HostTensor::from_f32(latents.shape, &sample))
}

/// The denoiser's inputs that are the same at every step.
fn fixed_inputs<'c>(
    networks: &Networks,
    conditioning: impl IntoIterator<Item = &'c (&'static str, HostTensor)>,
    schedule: &Schedule,
    request: &Resolved,
    sizes: &Sizes,
) -> Vec<(&'static str, Cow<'c, HostTensor>)> {
    let (model, dtype, batch) = (networks.config(), networks.dtype(), sizes.batch);
    let mut inputs: Vec<_> =
        conditioning.into_iter().map(|(input, value)| (*input, Cow::Borrowed(value))).collect();
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
