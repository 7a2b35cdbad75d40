//! Model families: the interface between a family's own files and everything else.
//!
//! The pipeline, its networks, the files of a model, the command line and the passes know [`Family`] and [`Model`], and no
//! family by name. The program of a family's denoiser has the inputs `latents` (`f32[batch, tokens, channels]`, packed as
//! [`Geometry`] says), `timesteps` (`f32[steps, batch]`, as [`Model::timestep`] scales them), `step` (`i32[]`), one for each
//! text encoder ([`TextEncoder::input`]), and `guidance` (`f32[batch]`) where [`Model::is_guided`]; its result is `velocity`,
//! of the shape and type of `latents`. A text encoder has the input `ids` (`i32[1, tokens]`), and the decoder makes `image`
//! (`f32[1, 3, height, width]`, nominally in −1…1) of `latents`.
//!
//! # To add a family
//!
//! FLUX.2 would add eight files, as `models/flux1` has them:
//!
//! 1. `models/flux2/mod.rs`: its networks ([`Net`]).
//! 2. `models/flux2/config.rs`: its [`Family`], the configuration of all its networks, and [`Model`] for that: which text encoder
//!    feeds what, the scheduler's shift, timesteps, defaults.
//! 3. `models/flux2/settings.rs`: what its transformer's config file says.
//! 4. `models/flux2/transformer.rs`: how its transformer is lowered.
//! 5. `models/flux2/layouts.rs`: how files of its transformer name their tensors.
//! 6. `models/flux2/configs/flux2-dev.json`: a built-in configuration.
//! 7. `models/mistral.rs`: its text encoder, lowered; other families may have it too, as they have T5 and CLIP.
//! 8. `models/tokenizer/mistral.rs`: how that encoder's prompts are read.
//!
//! It would be listed in `models/families.rs` (the family), `models/lib.rs` and `models/tokenizer/mod.rs` (the modules) and
//! `models/weights/layout/list.rs` (the layouts), and no longer in `models/weights/foreign/kinds.rs` and in FLUX.1's `others`, where it
//! is refused today; and its autoencoder is that of
//! `models/vae.rs` but for latents that are normalised, which that would have to learn. Qwen-Image would add the like, without
//! a built-in configuration, with `qwen2_5_vl.rs` for `mistral.rs` and an autoencoder of its own; its scheduler's
//! `shift_terminal` is a setting that `models/scheduler.rs` would have to learn. What no op computes yet, such as positions of
//! four axes, is an op more. `tests/family.rs` has a family in one file.

use crate::configs::Configs;
use crate::error::ModelError;
use crate::geometry::{Geometry, Sizes};
use crate::net::{Net, Role};
use crate::scheduler::{Schedule, SchedulerConfig, SchedulerError};
use crate::tokenizer::{OpenTokenizer, Tokenizer, TokenizerError};
use reflux_ir::{DType, Program};
use serde::Serialize;
use std::fmt::Debug;
use std::sync::Arc;

/// A family: what all of its models share.
pub struct Family {
    /// Its name in messages: `FLUX.1`.
    pub name: &'static str,
    /// Its networks, in the order in which a picture needs them: text encoders, the denoiser, the decoder.
    pub nets: &'static [&'static Net],
    /// Folders of tokenizers.
    pub tokenizers: &'static [&'static str],
    pub geometry: Geometry,
    /// The classes of the diffusers pipelines whose models it supports.
    pub pipelines: &'static [&'static str],
    /// Related models that are not supported: prefixes of their pipeline names, and what they are.
    pub others: &'static [(&'static str, &'static str)],
    /// The id of one of its models on the Hugging Face Hub: `black-forest-labs/FLUX.1-dev`.
    pub example_id: &'static str,
    /// Examples of its models for messages: `FLUX.1-dev or FLUX.1-schnell`.
    pub examples: &'static str,
    /// Configurations that need no files, by name: JSON of what each folder's config file says.
    pub built_in: &'static [(&'static str, &'static str)],
    /// Modules of the denoiser that are outside its blocks and hold linears.
    pub outside_blocks: &'static [&'static str],
    /// Makes a model of config files.
    ///
    /// # Errors
    /// If one asks for something that Reflux does not compute, or if they are inconsistent.
    pub read: fn(&mut Configs) -> Result<Arc<dyn Model>, ModelError>,
    /// Makes a model of a built-in configuration.
    pub parse: fn(&str) -> Arc<dyn Model>,
}

/// One model of a family: the configuration of its networks.
pub trait Model: Debug + Send + Sync {
    /// Its family.
    fn family(&self) -> &'static Family;

    /// Settings of the flow-matching scheduler.
    fn scheduler(&self) -> &SchedulerConfig;

    /// The noise levels of a run of `steps` steps for a picture of `image_tokens` tokens.
    ///
    /// # Errors
    /// If there are none.
    fn schedule(&self, steps: usize, image_tokens: usize) -> Result<Schedule, SchedulerError> {
        Schedule::new(self.scheduler(), steps, image_tokens)
    }

    /// The timestep `t` of a schedule (0…`num_train_timesteps`) as the denoiser reads it, where the pipeline computes in `dtype`.
    fn timestep(&self, t: f32, dtype: DType) -> f32;

    /// Channels of a packed latent token.
    fn token_channels(&self) -> usize;

    /// Whether guidance is embedded, an input of the denoiser.
    fn is_guided(&self) -> bool;

    /// Defaults for requests.
    fn defaults(&self) -> Defaults;

    /// The text encoders that make the denoiser's conditioning, in the order in which they run.
    fn text_encoders(&self) -> Vec<TextEncoder>;

    /// The IR of one network of the family.
    ///
    /// # Errors
    /// If the configuration asks for something that Reflux does not compute.
    ///
    /// # Panics
    /// If it is a network of another family: a bug of the caller.
    fn lower(&self, net: &'static Net, sizes: &Sizes, dtype: DType) -> Result<Program, ModelError>;
}

/// Defaults of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Defaults {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    pub steps: usize,
    pub guidance: f32,
    /// In tokens.
    pub max_sequence_length: usize,
}

/// A text encoder, its inputs, and the use of its result.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    pub net: &'static Net,
    /// Its name in messages.
    pub name: &'static str,
    /// The folder of its tokenizer.
    pub tokenizer: &'static str,
    pub open_tokenizer: OpenTokenizer,
    /// The tokenizer for a model that is a file of weights, which has no folder with one.
    pub built_in_tokenizer: fn() -> Result<Tokenizer, TokenizerError>,
    /// Rows of its embedding.
    pub vocab_size: usize,
    /// The number of tokens that it reads; if not given, that of the request.
    pub tokens: Option<usize>,
    /// The result of its program that is used.
    pub result: &'static str,
    /// The input of the denoiser that it becomes.
    pub input: &'static str,
}

impl Family {
    /// The network with this name on the command line.
    pub fn net(&self, name: &str) -> Option<&'static Net> {
        self.nets.iter().copied().find(|net| net.name == name)
    }

    /// The network that runs at every step.
    ///
    /// # Panics
    /// If there is none: every family has one.
    pub fn denoiser(&self) -> &'static Net {
        self.of_role(Role::Denoiser)
    }

    /// The network that makes pictures of latents.
    ///
    /// # Panics
    /// If there is none: every family has one.
    pub fn decoder(&self) -> &'static Net {
        self.of_role(Role::Decoder)
    }

    fn of_role(&self, role: Role) -> &'static Net {
        self.nets.iter().copied().find(|net| net.role == role).expect("every family has one")
    }
}

impl Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
