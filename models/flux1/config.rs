//! The FLUX.1 family, and the configuration of one of its models.

use super::settings::{GEOMETRY, TransformerConfig};
use super::{CLIP, NETS, T5, TRANSFORMER, VAE};
use crate::clip::ClipConfig;
use crate::configs::Configs;
use crate::error::ModelError;
use crate::family::{Defaults, Family, Model, TextEncoder};
use crate::geometry::Sizes;
use crate::net::Net;
use crate::scheduler::SchedulerConfig;
use crate::t5::T5Config;
use crate::tokenizer;
use crate::vae::VaeConfig;
use reflux_ir::{DType, HostTensor, Program};
use serde::Deserialize;
use std::sync::Arc;

pub static FAMILY: Family = Family {
    name: "FLUX.1",
    nets: NETS,
    tokenizers: &["tokenizer", "tokenizer_2"],
    geometry: GEOMETRY,
    // Pipelines that edit pictures do so with the same weights as the first, or with weights of the same shapes.
    pipelines: &["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"],
    others: &[
        ("FluxFill", "FLUX.1 Fill, which completes a picture"),
        ("FluxControlNet", "a ControlNet for FLUX.1"),
        ("FluxControl", "FLUX.1 Canny or FLUX.1 Depth, which follow the edges or the depth of a picture"),
        ("FluxPriorRedux", "FLUX.1 Redux, which varies a picture"),
        ("Flux2", "FLUX.2"),
        ("Chroma", "Chroma"),
        ("StableDiffusion", "Stable Diffusion"),
    ],
    example_id: "black-forest-labs/FLUX.1-dev",
    examples: "FLUX.1-dev or FLUX.1-schnell",
    built_in: &[
        ("flux-dev", include_str!("configs/flux-dev.json")),
        ("flux-schnell", include_str!("configs/flux-schnell.json")),
    ],
    outside_blocks: &["time_text_embed", "x_embedder", "context_embedder", "norm_out", "proj_out"],
    read: |configs| Ok(Arc::new(Config::read(configs)?)),
    parse: |json| Arc::new(Config::parse(json)),
};

/// The configuration of all networks of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    pub transformer: TransformerConfig,
    #[serde(rename = "text_encoder")]
    pub clip: ClipConfig,
    #[serde(rename = "text_encoder_2")]
    pub t5: T5Config,
    pub vae: VaeConfig,
    pub scheduler: SchedulerConfig,
}

impl Config {
    /// What a model's config files say.
    ///
    /// # Errors
    /// If one asks for something that Reflux does not compute, or if they are inconsistent.
    pub fn read(configs: &mut Configs) -> Result<Self, ModelError> {
        let transformer: TransformerConfig = configs.network(&TRANSFORMER)?;
        let guided = transformer.guidance_embeds;
        let config = Self {
            transformer,
            clip: configs.network(&CLIP)?,
            t5: configs.network(&T5)?,
            vae: configs.network_with(&VAE, |vae: &VaeConfig| vae.check_geometry(&GEOMETRY))?,
            scheduler: configs.scheduler(|| Self::published(guided).scheduler)?,
        };
        config.check().map_err(|why| configs.mixed(why))?;
        Ok(config)
    }

    /// FLUX.1-dev's configuration, which is guided, or -schnell's.
    fn published(guided: bool) -> Self {
        let (_, json) = FAMILY.built_in[if guided { 0 } else { 1 }];
        Self::parse(json)
    }

    /// A built-in configuration.
    fn parse(json: &str) -> Self {
        serde_json::from_str(json).expect("the built-in configurations are valid")
    }

    /// Whether the parts are of one model.
    fn check(&self) -> Result<(), String> {
        let packed = self.vae.latent_channels * GEOMETRY.patch * GEOMETRY.patch;
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
                    "the transformer's `{what}` is {of_transformer}, but {other} is {of_other}"
                ));
            }
        }
        Ok(())
    }
}

impl Model for Config {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// diffusers hands over t / 1000 in the pipeline's dtype, having rounded t to it first.
    fn timestep(&self, t: f32, dtype: DType) -> f32 {
        let rounded = |x: f32| HostTensor::from_f32([1], &[x]).cast(dtype).to_f32()[0];
        rounded(rounded(t) / 1000.0)
    }

    fn token_channels(&self) -> usize {
        self.transformer.in_channels
    }

    /// FLUX.1-dev is, FLUX.1-schnell is not.
    fn is_guided(&self) -> bool {
        self.transformer.guidance_embeds
    }

    /// FLUX.1-dev's settings with guidance, -schnell's without.
    fn defaults(&self) -> Defaults {
        let (steps, max_sequence_length) = if self.is_guided() { (28, 512) } else { (4, 256) };
        Defaults { width: 1024, height: 1024, steps, guidance: 3.5, max_sequence_length }
    }

    /// CLIP's pooled output `[batch, hidden]`, and T5's last hidden state `[batch, tokens, d_model]`.
    fn text_encoders(&self) -> Vec<TextEncoder> {
        let clip = TextEncoder {
            net: &CLIP,
            name: "CLIP",
            tokenizer: FAMILY.tokenizers[0],
            open_tokenizer: tokenizer::clip,
            built_in_tokenizer: tokenizer::built_in::clip,
            vocab_size: self.clip.vocab_size,
            tokens: Some(self.clip.max_position_embeddings),
            result: "pooled",
            input: "pooled",
        };
        let t5 = TextEncoder {
            net: &T5,
            name: "T5",
            tokenizer: FAMILY.tokenizers[1],
            open_tokenizer: tokenizer::t5,
            built_in_tokenizer: tokenizer::built_in::t5,
            vocab_size: self.t5.vocab_size,
            tokens: None,
            result: "prompt",
            input: "prompt",
        };
        vec![clip, t5]
    }

    fn lower(&self, net: &'static Net, sizes: &Sizes, dtype: DType) -> Result<Program, ModelError> {
        match net {
            net if *net == TRANSFORMER => self.transformer.lower(sizes, dtype),
            net if *net == T5 => self.t5.lower(sizes.batch, sizes.text_tokens, dtype),
            net if *net == CLIP => self.clip.lower(sizes.batch, dtype),
            net if *net == VAE => self.vae.lower(sizes, &GEOMETRY, dtype),
            net => unreachable!("{net:?} is no network of FLUX.1"),
        }
    }
}
