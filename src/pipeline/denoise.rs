//! The loop over steps: velocities from the transformer, Euler's method between them.

use super::request::Resolved;
use super::text::Conditioning;
use super::{Clock, FluxPipeline};
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::scheduler::Schedule;
use reflux_models::{Net, PATCH, Sizes};

/// `[channels, height, width]` latents into tokens of 2 × 2: `[1, tokens, channels · 4]`, channels slowest within one.
pub(super) fn pack(latents: &[f32], sizes: &Sizes, token_channels: usize) -> HostTensor {
    let (rows, columns) = sizes.grid();
    let (height, width) = (rows * PATCH, columns * PATCH);
    let channels = token_channels / (PATCH * PATCH);
    let mut packed = Vec::with_capacity(latents.len());
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..channels {
                for y in row * PATCH..(row + 1) * PATCH {
                    let start = (channel * height + y) * width + column * PATCH;
                    packed.extend_from_slice(&latents[start..start + PATCH]);
                }
            }
        }
    }
    HostTensor::from_f32([1, rows * columns, token_channels], &packed)
}

impl FluxPipeline {
    /// Takes packed noise `[1, tokens, channels]` to packed latents of the same shape.
    pub(super) fn denoise(
        &mut self,
        latents: HostTensor,
        conditioning: &Conditioning,
        schedule: &Schedule,
        request: &Resolved,
        image: usize,
        clock: &mut Clock,
    ) -> Result<HostTensor, Error> {
        let guided = self.config.is_guided();
        let (dtype, pictures) = (self.dtype, request.pictures());
        let sizes = request.sizes_of(Net::Transformer);
        let transformer = self.network(Net::Transformer, sizes, clock)?;
        clock.enter("denoise");
        transformer.reset();
        transformer.bind("prompt", &conditioning.prompt)?;
        transformer.bind("pooled", &conditioning.pooled)?;
        // diffusers hands over t / 1000 in the pipeline's dtype, having rounded t to it first.
        let thousandth = |t: &f32| {
            let rounded = HostTensor::from_f32([1], &[*t]).cast(dtype).to_f32()[0];
            HostTensor::from_f32([1], &[rounded / 1000.0]).cast(dtype).to_f32()[0]
        };
        let timesteps: Vec<f32> =
            schedule.timesteps.iter().flat_map(|t| vec![thousandth(t); sizes.batch]).collect();
        transformer.bind("timesteps", &HostTensor::from_f32([sizes.steps, sizes.batch], &timesteps))?;
        if guided {
            transformer.bind(
                "guidance",
                &HostTensor::from_f32([sizes.batch], &vec![request.guidance; sizes.batch]),
            )?;
        }
        let shape = [sizes.batch, latents.shape[1], latents.shape[2]];
        let mut sample = latents.to_f32();
        for step in 0..request.steps {
            transformer.bind("latents", &HostTensor::from_f32(shape, &sample.repeat(sizes.batch)))?;
            let velocity =
                transformer.step(step)?.remove("velocity").expect("the transformer's result").to_f32();
            let velocity = match request.negative() {
                Some(_) => guide(&velocity, request.true_cfg_scale),
                None => velocity,
            };
            schedule.step(step, &mut sample, &velocity);
            if !sample.iter().all(|value| value.is_finite()) {
                let when = format!("in step {} of {} of picture {image}", step + 1, request.steps);
                return Err(self.not_finite(Net::Transformer, when));
            }
            clock.step(image - pictures.start, pictures.len(), step, request.steps);
        }
        Ok(HostTensor::from_f32(latents.shape, &sample))
    }
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
    fn pack_puts_channels_slowest() {
        // Two channels of 2 × 4 latents, that is one row of two tokens.
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height: 16, width: 32 };
        let latents: Vec<f32> = (0..16).map(|x| x as f32).collect();
        let packed = pack(&latents, &sizes, 8);
        assert_eq!(packed.shape, [1, 2, 8]);
        let expected = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15].map(|x| x as f32);
        assert_eq!(packed.to_f32(), expected);
    }

    #[test]
    fn guidance_extrapolates_from_the_negative() {
        assert_eq!(guide(&[3.0, 1.0, 1.0, 2.0], 2.0), [5.0, 0.0]);
    }
}
