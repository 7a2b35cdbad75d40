//! Requests: what to draw.

use super::image::Image;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::ModelConfig;
use std::sync::Arc;

/// The most pictures of a request.
const MOST_PICTURES: usize = 10_000;

/// The most pictures that go through the denoiser together.
pub(crate) const MOST_AT_ONCE: usize = 64;

/// The least side of a tile of the decoder, in tokens.
pub(super) const LEAST_TILE: usize = 4;

/// The largest side of a tile of the decoder, in pixels.
pub(super) const MOST_TILE: usize = 1 << 16;

/// The most tokens of a prompt.
pub(crate) const MOST_TOKENS: usize = 4096;

/// What to draw. Everything but the prompt has a default, mostly the model's.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// One or more pictures are made for each.
    pub prompts: Vec<String>,
    /// The prompt to steer away from; used if `true_cfg_scale` is above 1.
    pub negative_prompt: Option<String>,
    /// Strength of classifier-free guidance; above 1 it doubles the work. 1 if not given.
    pub true_cfg_scale: Option<f32>,
    pub steps: Option<usize>,
    /// The embedded guidance, if the model was trained with one, as FLUX.1-dev was.
    pub guidance: Option<f32>,
    /// In pixels, a multiple of the side of a token.
    pub width: Option<usize>,
    /// In pixels, a multiple of the side of a token.
    pub height: Option<usize>,
    pub seed: u64,
    /// Pictures per prompt; 1 if not given.
    pub num_images: Option<usize>,
    /// How many pictures go through the denoiser together; one by one if not given.
    pub batch: Option<usize>,
    /// Make only this picture, counted from 0. With a single prompt and one picture, it may be any of that prompt's pictures.
    pub image_index: Option<usize>,
    /// The length of the prompt in tokens.
    pub max_sequence_length: Option<usize>,
    /// Packed noise to start from, `f32[pictures, tokens, channels]`, instead of the seed's.
    pub init_latents: Option<HostTensor>,
    /// A picture to start from instead of noise, brought to the size that is drawn.
    pub init_image: Option<Arc<Image>>,
    /// How much of that picture is drawn anew, from above 0 to 1, all of it: so many of the steps run. 0.6 if not given; 1 for
    /// FLUX.1 Fill.
    pub strength: Option<f64>,
    /// What of that picture is drawn anew: white; the rest, black, stays.
    pub mask_image: Option<Arc<Image>>,
    /// The picture that FLUX.1 Canny or Depth follows: edges, or depth.
    pub control_image: Option<Arc<Image>>,
    /// A picture that FLUX.1 Kontext looks at while it draws.
    pub reference_image: Option<Arc<Image>>,
    pub reference_size: ReferenceSize,
    /// The noise level before each step, from 1 downwards and before the shift, instead of even ones.
    pub sigmas: Option<Vec<f32>>,
    /// A static shift of the noise levels instead of the model's.
    pub flow_shift: Option<f64>,
    /// Make a preview every so many steps, before the last one.
    pub preview: Option<usize>,
    /// Decode the picture in overlapping tiles of at most this side, in pixels, which needs less memory; 0 is the same as none.
    pub vae_tiling: Option<usize>,
    /// Leave latents on the device between steps, if it can: a GPU need not wait for the host then, a millisecond or more in each step. But
    /// [`Event::Step`](super::Event::Step) has no latents, there is no [`Event::Results`](super::Event::Results), and that a step gives NaN is
    /// found after the last one. The pictures are the same.
    pub unwatched: bool,
}

/// In which size a reference is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceSize {
    /// That of the sizes which the model was trained with whose shape is nearest to the picture's.
    #[default]
    Preferred,
    /// Its own, cut to whole tokens.
    Own,
}

impl Request {
    /// A picture of `prompt`.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompts: vec![prompt.into()], ..Self::default() }
    }

    /// With this many steps.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// From this seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Of this size in pixels.
    pub fn size(mut self, width: usize, height: usize) -> Self {
        (self.width, self.height) = (Some(width), Some(height));
        self
    }

    /// Warnings about settings without effect.
    pub(super) fn warnings(&self, model: &ModelConfig) -> Vec<String> {
        let mut warnings = Vec::new();
        let pictures = self.pictures().unwrap_or(1);
        if self.batch.is_some_and(|batch| batch > 1) && pictures == 1 {
            warnings.push("a batch has no effect on a single picture".into());
        }
        if self.guidance.is_some() && !model.is_guided() {
            warnings.push(
                "guidance has no effect, because this model was not trained with it; to steer it, use a \
                 negative prompt and a true CFG scale above 1"
                    .into(),
            );
        }
        if let Some(scale) = self.true_cfg_scale.filter(|scale| *scale < 1.0) {
            warnings.push(format!("a true CFG scale of {scale} has no effect; give one above 1"));
        }
        warnings
    }

    /// How many pictures it is for.
    ///
    /// # Errors
    /// [`Error::Range`] if there are none or too many, or if they do not include the requested one.
    pub fn pictures(&self) -> Result<usize, Error> {
        let (prompts, images) = (self.prompts.len(), self.num_images.unwrap_or(1));
        within("the number of prompts", prompts, 1, MOST_PICTURES)?;
        within("the number of images", images, 1, MOST_PICTURES)?;
        let pictures = prompts.saturating_mul(images);
        within("the number of pictures", pictures, 1, MOST_PICTURES)?;
        let Some(index) = self.image_index else { return Ok(pictures) };
        let of = if pictures == 1 { MOST_PICTURES } else { pictures };
        within("the image index", index, 0, of - 1)?;
        Ok(1)
    }
}

/// Refuses a number that is out of range.
pub(crate) fn within(what: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Error::Range { what, range: format!("{least} to {most}"), found: value.to_string() })
    }
}
