//! The noise of a request's seed.

use reflux_ir::{DType, HostTensor};
use reflux_models::noise::TorchGenerator;
use reflux_models::{Geometry, ModelConfig, Sizes};

/// A generator that draws what has the shape of latents, as diffusers does: in the pipeline's dtype, one draw after the other.
#[derive(Clone)]
pub(super) struct Draws {
    generator: Box<TorchGenerator>,
    dtype: DType,
    geometry: Geometry,
    /// Channels of a token.
    channels: usize,
}

impl Draws {
    /// Draws from `seed` for a pipeline that computes in `dtype`.
    pub fn new(seed: u64, model: &ModelConfig, dtype: DType) -> Self {
        let generator = Box::new(TorchGenerator::new(seed));
        Self { generator, dtype, geometry: model.family().geometry, channels: model.token_channels() }
    }

    /// The next noise for a picture of these sizes, packed `[1, tokens, channels]`.
    pub fn next(&mut self, sizes: &Sizes) -> HostTensor {
        let values = self.draw(sizes);
        self.geometry.pack(&values, sizes, self.channels)
    }

    /// Leaves out as much as `count` pictures take.
    pub fn skip(&mut self, sizes: &Sizes, count: usize) {
        (0..count).for_each(|_| drop(self.draw(sizes)));
    }

    /// torch draws bf16 from coarser uniforms. Those of f16 are not known here, and are drawn as f32's.
    fn draw(&mut self, sizes: &Sizes) -> Vec<f32> {
        let count = self.geometry.image_tokens(sizes) * self.channels;
        match self.dtype {
            DType::BF16 => self.generator.randn_bf16(count).into_iter().map(f32::from).collect(),
            DType::F32 | DType::F16 => self.generator.randn_f32(count),
            DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
                unreachable!("no network computes in {}", self.dtype)
            }
        }
    }
}
