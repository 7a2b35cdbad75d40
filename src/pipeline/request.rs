//! Requests: what to draw.

use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::{Defaults, ModelConfig, Net, Role, Sizes};
use std::ops::Range;

/// The most pictures of a request.
const MOST_PICTURES: usize = 10_000;

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
    /// Make only this picture, counted from 0. With a single prompt and one picture, it may be any of that prompt's pictures.
    pub image_index: Option<usize>,
    /// The length of the prompt in tokens.
    pub max_sequence_length: Option<usize>,
    /// Packed noise to start from, `f32[pictures, tokens, channels]`, instead of the seed's.
    pub init_latents: Option<HostTensor>,
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

    /// Fills in the defaults and checks every number.
    pub(super) fn resolve(&self, defaults: &Defaults, model: &ModelConfig) -> Result<Resolved, Error> {
        let mut resolved = Resolved {
            prompts: self.prompts.clone(),
            negative_prompt: self.negative_prompt.clone().unwrap_or_default(),
            true_cfg_scale: self.true_cfg_scale.unwrap_or(1.0),
            steps: self.steps.unwrap_or(defaults.steps),
            guidance: self.guidance.unwrap_or(defaults.guidance),
            width: self.width.unwrap_or(defaults.width),
            height: self.height.unwrap_or(defaults.height),
            seed: self.seed,
            num_images: self.num_images.unwrap_or(1),
            image_index: self.image_index,
            max_sequence_length: self.max_sequence_length.unwrap_or(defaults.max_sequence_length),
            init_latents: self.init_latents.clone(),
        };
        for (what, pixels) in [("width", resolved.width), ("height", resolved.height)] {
            let geometry = model.family().geometry;
            if !geometry.divides(pixels) {
                return Err(Error::Size { what, pixels, unit: geometry.pixels_per_token() });
            }
        }
        self.pictures()?;
        if let Some(index) = self.image_index {
            resolved.prompts = vec![resolved.prompts.swap_remove(resolved.prompt_of(index))];
        }
        within("the number of steps", resolved.steps, 1, model.scheduler().num_train_timesteps)?;
        within("the maximum sequence length", resolved.max_sequence_length, 1, 4096)?;
        for (what, value) in
            [("guidance", resolved.guidance), ("the true CFG scale", resolved.true_cfg_scale)]
        {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::Range {
                    what,
                    range: "a number of at least 0".into(),
                    found: value.to_string(),
                });
            }
        }
        Ok(resolved)
    }
}

fn within(what: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Error::Range { what, range: format!("{least} to {most}"), found: value.to_string() })
    }
}

/// A request with all defaults filled in.
pub(super) struct Resolved {
    pub prompts: Vec<String>,
    negative_prompt: String,
    pub true_cfg_scale: f32,
    pub steps: usize,
    pub guidance: f32,
    pub width: usize,
    pub height: usize,
    pub seed: u64,
    num_images: usize,
    pub image_index: Option<usize>,
    pub max_sequence_length: usize,
    pub init_latents: Option<HostTensor>,
}

impl Resolved {
    /// The pictures to make, by their place in the batch.
    pub fn pictures(&self) -> Range<usize> {
        match self.image_index {
            Some(index) => index..index + 1,
            None => 0..self.prompts.len() * self.num_images,
        }
    }

    /// The index of the prompt of a picture.
    pub fn prompt_of(&self, picture: usize) -> usize {
        // A picture beyond the requested ones belongs to the only prompt.
        (picture / self.num_images).min(self.prompts.len() - 1)
    }

    /// The negative prompt, if classifier-free guidance is on.
    pub fn negative(&self) -> Option<&str> {
        (self.true_cfg_scale > 1.0).then_some(self.negative_prompt.as_str())
    }

    /// What the networks of one picture are specialised to.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            batch: 1,
            steps: self.steps,
            text_tokens: self.max_sequence_length,
            height: self.height,
            width: self.width,
        }
    }

    /// What `net` is specialised to. With classifier-free guidance, the denoiser has a batch of two: the prompt and
    /// the negative prompt, each with its own state.
    pub fn sizes_of(&self, net: &Net) -> Sizes {
        let batch = if net.role == Role::Denoiser && self.negative().is_some() { 2 } else { 1 };
        Sizes { batch, ..self.sizes() }
    }
}
