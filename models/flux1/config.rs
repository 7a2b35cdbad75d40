//! What the config files of a FLUX.1 model say.

use super::nets::{CLIP, T5, TRANSFORMER, VAE};
use super::settings::{GEOMETRY, TransformerConfig};
use crate::clip::ClipConfig;
use crate::configs::Configs;
use crate::error::ModelError;
use crate::scheduler::SchedulerConfig;
use crate::t5::T5Config;
use crate::vae::VaeConfig;
use serde::Deserialize;

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
    /// If one asks for something that Reflux does not compute, or they do not fit each other.
    pub fn read(configs: &mut Configs) -> Result<Self, ModelError> {
        let config = Self {
            transformer: configs.network(&TRANSFORMER)?,
            clip: configs.network(&CLIP)?,
            t5: configs.network(&T5)?,
            vae: configs.network_with(&VAE, |vae: &VaeConfig| vae.check_geometry(&GEOMETRY))?,
            scheduler: configs.scheduler()?,
        };
        config.check().map_err(|why| configs.mixed(why))?;
        Ok(config)
    }

    /// A built-in configuration.
    pub(super) fn parse(json: &str) -> Self {
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
                    "the transformer's `{what}` is {of_transformer}, and {other} {of_other}"
                ));
            }
        }
        Ok(())
    }
}
