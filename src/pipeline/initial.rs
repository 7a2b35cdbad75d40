//! Initial latents.

use super::request::Resolved;
use crate::Error;
use reflux_ir::{DType, HostTensor};
use reflux_models::noise::TorchGenerator;
use reflux_models::{Geometry, ModelConfig, Sizes};

/// Packed latents `[1, tokens, channels]`, one picture after the other.
pub(super) enum InitialLatents {
    Drawn { generator: Box<TorchGenerator>, dtype: DType, geometry: Geometry, sizes: Sizes, channels: usize },
    Given(std::vec::IntoIter<HostTensor>),
}

impl InitialLatents {
    /// The initial latents of `request`: given, or noise as torch draws it.
    ///
    /// # Errors
    /// If the given latents do not have the shape for the pictures.
    pub fn of(request: &Resolved, model: &ModelConfig, dtype: DType) -> Result<Self, Error> {
        let (geometry, channels) = (model.family().geometry, model.token_channels());
        match &request.init_latents {
            Some(given) => Self::given(given, request, geometry, channels),
            None => Ok(Self::drawn(request, dtype, geometry, channels)),
        }
    }

    /// The noise of the request's seed, starting with that of its first picture.
    fn drawn(request: &Resolved, dtype: DType, geometry: Geometry, channels: usize) -> Self {
        let (sizes, first) = (request.sizes(), request.pictures().start);
        let mut generator = TorchGenerator::new(request.seed);
        // One generator draws for a whole batch, so a picture's noise follows that of the pictures before it.
        let count = geometry.image_tokens(&sizes) * channels;
        (0..first).for_each(|_| drop(draw(&mut generator, dtype, count)));
        Self::Drawn { generator: Box::new(generator), dtype, geometry, sizes, channels }
    }

    /// The latents of the request's pictures in `given`, `[pictures, tokens, channels]`.
    ///
    /// # Errors
    /// If it has another shape. If one picture of a batch is requested, more may follow it.
    fn given(
        given: &HostTensor,
        request: &Resolved,
        geometry: Geometry,
        channels: usize,
    ) -> Result<Self, Error> {
        let (pictures, tokens) = (request.pictures(), geometry.image_tokens(&request.sizes()));
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

    /// The latents of the next picture.
    pub fn next(&mut self) -> HostTensor {
        match self {
            Self::Drawn { generator, dtype, geometry, sizes, channels } => {
                let values = draw(generator, *dtype, geometry.image_tokens(sizes) * *channels);
                geometry.pack(&values, sizes, *channels)
            }
            Self::Given(each) => each.next().expect("there are as many as pictures"),
        }
    }
}

/// diffusers draws in the pipeline's dtype, and torch draws bf16 from coarser uniforms. Those of f16 are not known here, and are
/// drawn as f32's.
fn draw(generator: &mut TorchGenerator, dtype: DType, count: usize) -> Vec<f32> {
    match dtype {
        DType::BF16 => generator.randn_bf16(count).into_iter().map(f32::from).collect(),
        DType::F32 | DType::F16 => generator.randn_f32(count),
        DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
            unreachable!("no network computes in {dtype}")
        }
    }
}
