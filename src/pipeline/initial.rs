//! What denoising starts from.

use super::denoise::pack;
use super::request::Resolved;
use crate::Error;
use reflux_ir::{DType, HostTensor};
use reflux_models::Sizes;
use reflux_models::noise::TorchGenerator;

/// Packed latents `[1, tokens, channels]`, one picture after the other.
pub(super) enum InitialLatents {
    Drawn { generator: Box<TorchGenerator>, dtype: DType, sizes: Sizes, channels: usize },
    Given(std::vec::IntoIter<HostTensor>),
}

impl InitialLatents {
    /// The noise of a seed, from that of picture `first` on.
    pub fn drawn(seed: u64, dtype: DType, sizes: Sizes, channels: usize, first: usize) -> Self {
        let mut generator = TorchGenerator::new(seed);
        // One generator draws for a whole batch, so the noise of a picture comes after that of those before it.
        (0..first).for_each(|_| drop(draw(&mut generator, dtype, sizes.image_tokens() * channels)));
        Self::Drawn { generator: Box::new(generator), dtype, sizes, channels }
    }

    /// Those of the request's pictures in `given`, which has `[pictures, tokens, channels]`.
    ///
    /// # Errors
    /// If it has another shape. Where one picture of a batch is wanted, there may be more after it.
    pub fn given(given: &HostTensor, request: &Resolved, channels: usize) -> Result<Self, Error> {
        let (pictures, tokens) = (request.pictures(), request.sizes().image_tokens());
        let fits = match given.shape[..] {
            [count, rows, columns] => {
                let is_enough =
                    count == pictures.end || (request.image_index.is_some() && count > pictures.end);
                is_enough && [rows, columns] == [tokens, channels]
            }
            _ => false,
        };
        if !fits {
            return Err(Error::Range {
                what: "the shape of the initial latents",
                range: format!("[{}, {tokens}, {channels}]", pictures.end),
                found: format!("{:?}", given.shape),
            });
        }
        let values = given.to_f32();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Range {
                what: "every number of the initial latents",
                range: "finite".into(),
                found: format!("{} (the first such is number {at}, counted from 0)", values[at]),
            });
        }
        let chunks = values.chunks(tokens * channels).skip(pictures.start).take(pictures.len());
        let each = chunks.map(|part| HostTensor::from_f32([1, tokens, channels], part));
        Ok(Self::Given(each.collect::<Vec<_>>().into_iter()))
    }

    /// Those of the next picture.
    pub fn next(&mut self) -> HostTensor {
        match self {
            Self::Drawn { generator, dtype, sizes, channels } => {
                let values = draw(generator, *dtype, sizes.image_tokens() * *channels);
                pack(&values, sizes, *channels)
            }
            Self::Given(each) => each.next().expect("there are as many as pictures"),
        }
    }
}

/// diffusers draws in the pipeline's dtype, and torch draws bf16 from coarser uniforms.
fn draw(generator: &mut TorchGenerator, dtype: DType, count: usize) -> Vec<f32> {
    if dtype == DType::BF16 {
        return generator.randn_bf16(count).into_iter().map(f32::from).collect();
    }
    generator.randn_f32(count)
}
