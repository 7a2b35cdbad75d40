//! AutoencoderKL (diffusers, `models/autoencoders/{autoencoder_kl,vae}.py`): its configuration, and how it is recognised.

mod blocks;
mod decoder;
mod encoder;

use crate::architecture::Architecture;
use crate::geometry::Geometry;
use crate::settings::{Component, EXTENTS, Fixed, Settings, positive, within};
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Prefixes of the names of its tensors, of both halves.
const PREFIXES: &[&str] = &["", "vae.", "first_stage_model.", "model."];

/// The autoencoder of Stable Diffusion and FLUX.1, for its decoder.
pub static AUTOENCODER_KL: Architecture = Architecture {
    title: "an autoencoder (VAE)",
    class: "AutoencoderKL",
    model_type: None,
    prefixes: PREFIXES,
    settings: None,
    refuse: None,
};

/// The same autoencoder, for its encoder. Files have both, and each is no concern of the other.
pub static AUTOENCODER_KL_ENCODER: Architecture = Architecture {
    title: "the encoder of an autoencoder (VAE)",
    class: "AutoencoderKL",
    model_type: None,
    prefixes: PREFIXES,
    settings: None,
    refuse: None,
};

/// `config.json` of an AutoencoderKL.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VaeConfig {
    #[serde(default = "three")]
    pub in_channels: usize,
    pub out_channels: usize,
    pub latent_channels: usize,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub norm_num_groups: usize,
    pub scaling_factor: f64,
    #[serde(default)]
    pub shift_factor: Option<f64>,
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
}

fn yes() -> bool {
    true
}

fn three() -> usize {
    3
}

/// The number of levels that is accepted; each halves the size of pictures.
const LEVELS: RangeInclusive<usize> = 2..=10;

impl Component for VaeConfig {
    const SETTINGS: Settings = Settings {
        fixed: &[
            ("_class_name", Fixed::Name(&["AutoencoderKL"])),
            ("act_fn", Fixed::Name(&["silu", "swish"])),
            ("up_block_types", Fixed::Names("UpDecoderBlock2D")),
            ("down_block_types", Fixed::Names("DownEncoderBlock2D")),
        ],
        // Of training.
        without_effect: Some(&["force_upcast", "sample_size"]),
        fix: "give the AutoencoderKL of a FLUX.1 model",
    };

    fn check(&self) -> Result<(), String> {
        let levels = &self.block_out_channels;
        if !LEVELS.contains(&levels.len()) {
            let (least, most) = (LEVELS.start(), LEVELS.end());
            return Err(format!(
                "`block_out_channels` must have {least} to {most} levels, not {}",
                levels.len()
            ));
        }
        within("norm_num_groups", self.norm_num_groups, EXTENTS)?;
        for &channels in levels {
            within("block_out_channels", channels, EXTENTS)?;
            if !channels.is_multiple_of(self.norm_num_groups) {
                let groups = self.norm_num_groups;
                return Err(format!(
                    "`block_out_channels`, {levels:?}, must be multiples of `norm_num_groups`, {groups}"
                ));
            }
        }
        within("layers_per_block", self.layers_per_block, 0..=100)?;
        within("latent_channels", self.latent_channels, EXTENTS)?;
        for (setting, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if channels != 3 {
                return Err(format!("`{setting}` must be 3, for red, green and blue, not {channels}"));
            }
        }
        positive("scaling_factor", self.scaling_factor)
    }
}

impl VaeConfig {
    /// Pixels per latent along each side.
    pub fn scale_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1).min(usize::BITS as usize / 2)
    }

    /// Whether latents are as large as those of a family.
    ///
    /// # Errors
    /// The wrong setting, and what it should be.
    pub fn check_geometry(&self, geometry: &Geometry) -> Result<(), String> {
        let (levels, due) = (self.block_out_channels.len(), geometry.pixels_per_latent);
        if self.scale_factor() == due {
            return Ok(());
        }
        Err(format!(
            "`block_out_channels` must have {} levels, so that a latent is {due} pixels wide, not {levels}",
            due.ilog2() + 1
        ))
    }
}
