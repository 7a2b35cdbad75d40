//! A FLUX model's configuration: the config files of a diffusers folder, or a built-in one.

use crate::scheduler::SchedulerConfig;
use crate::settings::{Part, read_part};
use crate::{ClipConfig, FluxConfig, ModelError, ModelFiles, Parts, T5Config, VaeConfig};
use reflux_ir::{DType, Program};
use serde::Deserialize;
use std::path::Path;

/// Latents along each side of a token.
pub const PATCH: usize = 2;

/// Pixels along each side of a token: the VAE's 8 times [`PATCH`].
pub const PIXELS_PER_TOKEN: usize = 16;

/// What a program is specialised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Images at once.
    pub batch: usize,
    pub steps: usize,
    /// T5's sequence length.
    pub text_tokens: usize,
    /// In pixels, a multiple of [`PIXELS_PER_TOKEN`].
    pub height: usize,
    /// In pixels, a multiple of [`PIXELS_PER_TOKEN`].
    pub width: usize,
}

impl Sizes {
    /// The least there is, for what does not depend on sizes: the names and shapes of weights.
    pub const SMALLEST: Self =
        Self { batch: 1, steps: 1, text_tokens: 1, height: PIXELS_PER_TOKEN, width: PIXELS_PER_TOKEN };

    /// Rows and columns of image tokens.
    pub fn grid(&self) -> (usize, usize) {
        (self.height / PIXELS_PER_TOKEN, self.width / PIXELS_PER_TOKEN)
    }

    /// Number of image tokens.
    pub fn image_tokens(&self) -> usize {
        let (rows, columns) = self.grid();
        rows.saturating_mul(columns)
    }
}

/// The networks of a FLUX pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Net {
    Transformer,
    T5,
    Clip,
    Vae,
}

impl Net {
    /// All networks, in the order in which a picture needs them.
    pub const ALL: [Net; 4] = [Self::Clip, Self::T5, Self::Transformer, Self::Vae];

    /// Whether it encodes text.
    pub const fn is_of_text(self) -> bool {
        matches!(self, Self::T5 | Self::Clip)
    }

    /// The network's folder in a diffusers model.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::T5 => "text_encoder_2",
            Self::Clip => "text_encoder",
            Self::Vae => "vae",
        }
    }

    /// What it is called in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Transformer => "a FLUX.1 transformer",
            Self::T5 => "a T5 text encoder",
            Self::Clip => "a CLIP text encoder",
            Self::Vae => "an autoencoder (VAE)",
        }
    }

    /// What to say where there is `other` and this one is due.
    pub(crate) fn instead(self, other: Self) -> String {
        format!(
            "{}, and {} is needed here; what it holds belongs in {}/ or after {}",
            other.title(),
            self.title(),
            other.folder(),
            other.option()
        )
    }

    /// The option of the command line for its weights.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Transformer => "--transformer",
            Self::T5 => "--t5",
            Self::Clip => "--clip",
            Self::Vae => "--vae",
        }
    }
}

/// The configuration of all networks of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ModelConfig {
    pub transformer: FluxConfig,
    #[serde(rename = "text_encoder")]
    pub clip: ClipConfig,
    #[serde(rename = "text_encoder_2")]
    pub t5: T5Config,
    pub vae: VaeConfig,
    pub scheduler: SchedulerConfig,
    /// What its files say that nobody knows, and that is therefore ignored.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

impl ModelConfig {
    /// The built-in configurations' names.
    pub const BUILT_IN: [&'static str; 2] = ["flux-dev", "flux-schnell"];

    /// The configuration called `name`, one of [`ModelConfig::BUILT_IN`].
    pub fn built_in(name: &str) -> Option<Self> {
        let text = match name {
            "flux-dev" => include_str!("configs/flux-dev.json"),
            "flux-schnell" => include_str!("configs/flux-schnell.json"),
            _ => return None,
        };
        Some(serde_json::from_str(text).expect("the built-in configurations are valid"))
    }

    /// Reads the config files of a diffusers folder. Weights are not looked at.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        Self::of(&ModelFiles::find(folder, Parts::default())?)
    }

    /// Reads the config files of a model; of weights only the headers, where they must tell what a transformer is.
    ///
    /// # Errors
    /// If one is missing or malformed, asks for something that Reflux does not compute, or they do not fit each other.
    pub fn of(files: &ModelFiles) -> Result<Self, ModelError> {
        files.check_parts()?;
        let path = |net| files.config_path(net).expect("all parts are there");
        let mut warnings = Vec::new();
        let config = Self {
            transformer: match files.config_path(Net::Transformer) {
                Some(path) => read(&path, &mut warnings)?,
                None => from_weights(files)?,
            },
            clip: read(&path(Net::Clip), &mut warnings)?,
            t5: read(&path(Net::T5), &mut warnings)?,
            vae: read(&path(Net::Vae), &mut warnings)?,
            scheduler: read(&files.scheduler_path(), &mut warnings)?,
            warnings,
        };
        config.check().map_err(|why| ModelError::Mixed { folder: files.folder().to_owned(), why })?;
        Ok(config)
    }

    /// Whether the parts are of one model.
    fn check(&self) -> Result<(), String> {
        let packed = self.vae.latent_channels * PATCH * PATCH;
        for (what, of_transformer, other, of_other) in [
            ("in_channels", self.transformer.in_channels, "that of the VAE's packed latents", packed),
            ("joint_attention_dim", self.transformer.joint_attention_dim, "T5's `d_model`", self.t5.d_model),
            (
                "pooled_projection_dim",
                self.transformer.pooled_projection_dim,
                "CLIP's `hidden_size`",
                self.clip.hidden_size,
            ),
        ] {
            if of_transformer != of_other {
                return Err(format!(
                    "the transformer's `{what}` is {of_transformer}, and {other} {of_other}"
                ));
            }
        }
        Ok(())
    }

    /// Whether guidance is embedded, as in FLUX.1-dev; FLUX.1-schnell has none.
    pub fn is_guided(&self) -> bool {
        self.transformer.guidance_embeds
    }

    /// The IR of one network.
    pub fn lower(&self, net: Net, sizes: &Sizes, dtype: DType) -> Result<Program, ModelError> {
        match net {
            Net::Transformer => self.transformer.lower(sizes, dtype),
            Net::T5 => self.t5.lower(sizes.batch, sizes.text_tokens, dtype),
            Net::Clip => self.clip.lower(sizes.batch, dtype),
            Net::Vae => self.vae.lower(sizes, dtype),
        }
    }
}

fn read<P: Part>(path: &Path, warnings: &mut Vec<String>) -> Result<P, ModelError> {
    let mut ignored = Vec::new();
    let config = read_part(path, &mut ignored)?;
    if !ignored.is_empty() {
        let path = path.display();
        warnings.push(format!("{path}: nothing is known of `{}`, which is ignored", ignored.join("`, `")));
    }
    Ok(config)
}

fn from_weights(files: &ModelFiles) -> Result<FluxConfig, ModelError> {
    let config = files.weights(Net::Transformer)?.flux_config()?;
    let path = files.weights_path(Net::Transformer);
    config.check().map_err(|why| ModelError::Setting { path, why })?;
    Ok(config)
}
