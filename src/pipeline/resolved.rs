//! Requests with all defaults filled in, and every number checked.

use super::image::Image;
use super::reference::{preferred, whole_tokens};
use super::request::{LEAST_TILE, MOST_AT_ONCE, MOST_TILE, MOST_TOKENS, ReferenceSize, Request, within};
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::scheduler::{Levels, Schedule, SchedulerError};
use reflux_models::{Condition, Defaults, Geometry, LatentRgb, ModelConfig, Net, Role, Sizes};
use std::ops::Range;
use std::sync::Arc;

/// A request with all defaults filled in.
pub(super) struct Resolved {
    pub prompts: Vec<String>,
    negative_prompt: String,
    pub true_cfg_scale: f32,
    /// The steps that run.
    pub steps: usize,
    pub levels: Levels,
    /// How much of the picture to start from is drawn anew, 0…1; only of use if there is one.
    pub strength: f64,
    pub guidance: f32,
    pub width: usize,
    pub height: usize,
    pub seed: u64,
    num_images: usize,
    pub image_index: Option<usize>,
    /// The most pictures that go through the denoiser together.
    batch: usize,
    /// The pictures of the whole request, of which only one may be made.
    pub all_pictures: usize,
    pub max_sequence_length: usize,
    pub init_latents: Option<HostTensor>,
    pub init_image: Option<Arc<Image>>,
    pub mask_image: Option<Arc<Image>>,
    pub control_image: Option<Arc<Image>>,
    pub reference_image: Option<Arc<Image>>,
    pub reference_size: ReferenceSize,
    /// The noise levels, if they were given.
    pub given_sigmas: Option<Vec<f32>>,
    /// Height and width that the reference is read in.
    reference: Option<[usize; 2]>,
    previews: Option<Previews>,
    /// The side of the decoder's tiles, in pixels.
    pub vae_tiling: Option<usize>,
    unwatched: bool,
}

/// When previews are made, and how.
struct Previews {
    interval: usize,
    latent_rgb: LatentRgb,
    geometry: Geometry,
}

impl Request {
    /// Fills in the defaults and checks every number.
    pub(super) fn resolve(&self, defaults: &Defaults, model: &ModelConfig) -> Result<Resolved, Error> {
        self.pictures()?;
        let (levels, strength) = self.levels(defaults, model)?;
        let reference = self.reference_image.as_deref().map(|image| match self.reference_size {
            ReferenceSize::Preferred => preferred(image, model.family()),
            ReferenceSize::Own => whole_tokens(image, model.family()),
        });
        let mut resolved = Resolved {
            prompts: self.prompts.clone(),
            negative_prompt: self.negative_prompt.clone().unwrap_or_default(),
            true_cfg_scale: self.true_cfg_scale.unwrap_or(1.0),
            steps: levels.sigmas.len() - levels.skipped,
            levels,
            strength,
            guidance: self.guidance.unwrap_or(defaults.guidance),
            width: self.width.unwrap_or(defaults.width),
            height: self.height.unwrap_or(defaults.height),
            seed: self.seed,
            num_images: self.num_images.unwrap_or(1),
            image_index: self.image_index,
            batch: self.batch.unwrap_or(1),
            all_pictures: (self.prompts.len() * self.num_images.unwrap_or(1))
                .max(self.image_index.map_or(0, |index| index + 1)),
            max_sequence_length: self.max_sequence_length.unwrap_or(defaults.max_sequence_length),
            init_latents: self.init_latents.clone(),
            init_image: self.init_image.clone(),
            mask_image: self.mask_image.clone(),
            control_image: self.control_image.clone(),
            reference_image: self.reference_image.clone(),
            reference_size: self.reference_size,
            given_sigmas: self.sigmas.clone(),
            reference,
            previews: self.previews(defaults, model)?,
            unwatched: self.unwatched,
            vae_tiling: self.vae_tiling.filter(|pixels| *pixels > 0),
        };
        let geometry = model.family().geometry;
        for (what, pixels) in [("width", resolved.width), ("height", resolved.height)] {
            if !geometry.divides(pixels) {
                return Err(Error::Size { what, pixels, unit: geometry.pixels_per_token() });
            }
        }
        if let Some(index) = self.image_index {
            resolved.prompts = vec![resolved.prompts.swap_remove(resolved.prompt_of(index))];
        }
        within("the batch", resolved.batch, 1, MOST_AT_ONCE)?;
        if let Some(pixels) = resolved.vae_tiling {
            let (unit, most) = (geometry.pixels_per_token(), MOST_TILE);
            let least = LEAST_TILE * unit;
            if !geometry.divides(pixels) || !(least..=most).contains(&pixels) {
                let range = format!("a multiple of {unit} from {least} to {most}");
                return Err(Error::Range { what: "the side of a tile", range, found: pixels.to_string() });
            }
        }
        within("the maximum sequence length", resolved.max_sequence_length, 1, MOST_TOKENS)?;
        for (what, value) in
            [("guidance", resolved.guidance), ("the true CFG scale", resolved.true_cfg_scale)]
        {
            if !value.is_finite() || value < 0.0 {
                let (range, found) = ("a number of at least 0".into(), value.to_string());
                return Err(Error::Range { what, range, found });
            }
        }
        self.check_pictures(model)?;
        Ok(resolved)
    }

    fn previews(&self, defaults: &Defaults, model: &ModelConfig) -> Result<Option<Previews>, Error> {
        let Some(interval) = self.preview else { return Ok(None) };
        within("the steps between previews", interval, 1, usize::MAX)?;
        let Some(latent_rgb) = defaults.latent_rgb.clone() else {
            let message = "how this model's latents look is not known, so that there are no previews of them: put `latent_rgb` into its \
                           reflux.json, or leave out --preview";
            return Err(Error::Usage(message.into()));
        };
        Ok(Some(Previews { interval, latent_rgb, geometry: model.family().geometry }))
    }

    /// Refuses pictures that the model does not read, and the lack of those that it needs.
    fn check_pictures(&self, model: &ModelConfig) -> Result<(), Error> {
        let [init, mask] = [&self.init_image, &self.mask_image].map(Option::is_some);
        let [control, reference] = [&self.control_image, &self.reference_image].map(Option::is_some);
        let why = match model.condition() {
            _ if self.init_latents.is_some() && init => {
                "initial latents and a picture to start from exclude each other: leave out --init-latents or --init-image"
            }
            _ if self.strength.is_some() && !init => {
                "a strength needs a picture to start from: add --init-image, or leave out --strength"
            }
            Condition::Masked if !(init && mask) => {
                "this model, FLUX.1 Fill, paints into a picture: give it with --init-image, and what to paint with --mask-image"
            }
            Condition::Control if !control => {
                "this model, FLUX.1 Canny or Depth, follows a picture of edges or depth: give it with --control-image"
            }
            Condition::None | Condition::Masked if control => {
                "this model reads no control picture: leave out --control-image, or give FLUX.1 Canny or Depth"
            }
            Condition::Control | Condition::Masked if reference => {
                "this model reads no reference: leave out --reference-image, or give FLUX.1 Kontext"
            }
            _ if mask && !init => "a mask says what of a picture to paint anew: add --init-image",
            _ if (init || control || reference) && model.family().encoder.is_none() => {
                "models of this family read no pictures"
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(why.into()))
    }
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

    /// Warnings of pictures that change their shape when they are brought to the size that is drawn.
    pub fn stretched(&self) -> Vec<String> {
        let pictures = [&self.init_image, &self.mask_image, &self.control_image];
        let is_stretched = |image: &&Arc<Image>| {
            let own = image.width().saturating_mul(self.height);
            let drawn = image.height().saturating_mul(self.width);
            own.abs_diff(drawn) > own / 50
        };
        let warning = |image: &Arc<Image>| {
            let name = image.source().map_or("a picture", |source| &source.name);
            format!(
                "{name}, {} × {} pixels, is stretched to {} × {}; a width and a height of its shape would keep it (--width, --height)",
                image.width(),
                image.height(),
                self.width,
                self.height
            )
        };
        pictures.into_iter().flatten().filter(is_stretched).map(warning).collect()
    }

    /// The noise levels of the steps that run.
    ///
    /// # Errors
    /// If there are none for pictures of this size.
    pub fn schedule(&self, model: &ModelConfig) -> Result<Schedule, SchedulerError> {
        model.schedule(&self.levels, model.family().geometry.image_tokens(&self.sizes()))
    }

    /// Whether nobody but the denoiser needs latents between steps.
    pub fn is_unwatched(&self) -> bool {
        self.unwatched && self.previews.is_none() && self.negative().is_none()
    }

    /// What `latents`, packed and without noise, look like, if a preview is due after `step`, counted from 0.
    pub fn preview(&self, step: usize, latents: impl FnOnce() -> HostTensor) -> Option<Image> {
        let Previews { interval, latent_rgb, geometry } = self.previews.as_ref()?;
        let is_due = (step + 1).is_multiple_of(*interval) && step + 1 < self.steps;
        let picture = is_due.then(|| latent_rgb.picture(&latents(), geometry, &self.sizes()))?;
        Some(Image::from_tensor(&picture, Vec::new()))
    }

    /// Whether noise is mixed with the picture to start from before the first step.
    pub fn starts_from_picture(&self) -> bool {
        let is_noise = self.levels.skipped == 0 && self.levels.sigmas[0] == 1.0;
        self.init_image.is_some() && !is_noise
    }

    /// What the networks of one picture are specialised to.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            batch: 1,
            steps: self.steps,
            text_tokens: self.max_sequence_length,
            height: self.height,
            width: self.width,
            reference: self.reference,
        }
    }

    /// What the encoder is specialised to for the reference.
    pub fn reference_sizes(&self) -> Option<Sizes> {
        Some(self.sizes().of_picture(self.reference?))
    }

    /// What a network that reads or makes a picture of the size that is drawn is specialised to.
    pub fn picture_sizes(&self) -> Sizes {
        self.sizes().of_picture([self.height, self.width])
    }

    /// What `net` is specialised to; `None` if it is not needed. The encoder, which may read pictures of two sizes, one after the
    /// other, is that for the larger one.
    pub fn needed(&self, net: &Net) -> Option<Sizes> {
        if net.role != Role::Encoder {
            return Some(self.sizes_of(net));
        }
        let drawn = self.init_image.is_some() || self.control_image.is_some();
        let drawn = drawn.then(|| self.picture_sizes());
        drawn.into_iter().chain(self.reference_sizes()).max_by_key(|sizes| sizes.height * sizes.width)
    }

    /// Whether a picture is read.
    pub fn needs_encoder(&self) -> bool {
        self.init_image.is_some() || self.control_image.is_some() || self.reference_image.is_some()
    }

    /// How many latents the denoiser takes at once.
    pub fn denoiser_batch(&self) -> usize {
        self.at_once() * self.per_picture()
    }

    /// How many latents it takes for a picture.
    pub fn per_picture(&self) -> usize {
        if self.negative().is_some() { 2 } else { 1 }
    }

    /// How many pictures go through the denoiser together: as many as were asked for, but no more than make the batches even.
    pub fn at_once(&self) -> usize {
        let pictures = self.pictures().len();
        pictures.div_ceil(pictures.div_ceil(self.batch))
    }

    /// What `net` is specialised to. With classifier-free guidance, the denoiser takes two latents for a picture: with the prompt and
    /// with the negative prompt, each with its own state.
    pub fn sizes_of(&self, net: &Net) -> Sizes {
        match net.role {
            Role::Denoiser => Sizes { batch: self.denoiser_batch(), ..self.sizes() },
            Role::TextEncoder => Sizes { reference: None, ..self.sizes() },
            Role::Decoder => {
                let (sizes, most) = (self.picture_sizes(), self.vae_tiling.unwrap_or(usize::MAX));
                Sizes { height: sizes.height.min(most), width: sizes.width.min(most), ..sizes }
            }
            Role::Encoder => self.picture_sizes(),
        }
    }
}
