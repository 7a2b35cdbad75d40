//! A FLUX model's configuration: the config files of a diffusers folder, or a built-in one.

use crate::scheduler::SchedulerConfig;
use crate::{ClipConfig, FluxConfig, ModelError, T5Config, VaeConfig};
use reflux_ir::{DType, Program};
use serde::Deserialize;
use serde::de::DeserializeOwned;
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

    /// Prefixes of tensors that a checkpoint may hold and the network does not use.
    pub const fn unused_weights(self) -> &'static [&'static str] {
        match self {
            Self::Transformer => &[],
            Self::T5 => &["encoder.embed_tokens.", "decoder.", "lm_head."],
            Self::Clip => &["text_model.embeddings.position_ids", "text_projection."],
            Self::Vae => &["encoder.", "quant_conv."],
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
        if !folder.join("model_index.json").is_file() {
            return Err(ModelError::NoModel { folder: folder.to_owned() });
        }
        let config = |net: Net| folder.join(net.folder()).join("config.json");
        Ok(Self {
            transformer: read_json(&config(Net::Transformer))?,
            clip: read_json(&config(Net::Clip))?,
            t5: read_json(&config(Net::T5))?,
            vae: read_json(&config(Net::Vae))?,
            scheduler: read_json(&folder.join("scheduler").join("scheduler_config.json"))?,
        })
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

/// Reads a JSON file; errors say which file, and where in it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ModelError::Read { path: path.to_owned(), error })?;
    serde_json::from_str(&text).map_err(|error| ModelError::Json { path: path.to_owned(), error })
}
