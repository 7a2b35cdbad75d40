//! AutoencoderKL (diffusers, `models/autoencoders/{autoencoder_kl,vae}.py`): its configuration, and how it is recognised.

mod blocks;
mod decoder;
mod encoder;

use crate::architecture::{Architecture, Setting, ShapeOf, Untold, extent};
use crate::geometry::Geometry;
use crate::settings::{Component, EXTENTS, FACTORS, Fixed, Settings, plausible, within};
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
    settings: Some(settings_of),
};

/// The same autoencoder, for its encoder. Files have both, and each is no concern of the other.
pub static AUTOENCODER_KL_ENCODER: Architecture = Architecture {
    title: "the encoder of an autoencoder (VAE)",
    class: "AutoencoderKL",
    model_type: None,
    prefixes: PREFIXES,
    settings: None,
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
        plausible("shift_factor", self.shift_factor.unwrap_or(0.0), -FACTORS.end()..=*FACTORS.end())?;
        plausible("scaling_factor", self.scaling_factor, FACTORS)
    }

    /// Of the autoencoder that FLUX.1 and its relatives share: how latents are scaled is not told by shapes.
    fn of_shapes(shape: ShapeOf) -> Result<Self, Untold> {
        const LEVELS: [usize; 4] = [128, 256, 512, 512];
        let found = levels(shape);
        let latent_channels = extent(shape, "decoder.conv_in.weight", 1)?;
        if found != LEVELS || latent_channels != 16 {
            let why = format!(
                "it has {latent_channels} latent channels and levels of {found:?}, but the factors of latents are only known for \
                 FLUX.1's autoencoder, with 16 and {LEVELS:?}"
            );
            return Err(Untold::Why(why));
        }
        Ok(Self {
            in_channels: 3,
            out_channels: extent(shape, "decoder.conv_out.weight", 0)?,
            latent_channels,
            block_out_channels: found,
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            // Files have both or none.
            use_quant_conv: shape("post_quant_conv.weight").is_some(),
            use_post_quant_conv: shape("post_quant_conv.weight").is_some(),
            mid_block_add_attention: shape("decoder.mid_block.attentions.0.to_q.weight").is_some(),
        })
    }
}

/// The channels of the levels of an autoencoder, those of the largest pictures first.
fn levels(shape: ShapeOf) -> Vec<usize> {
    let channels =
        |level| extent(shape, &format!("decoder.up_blocks.{level}.resnets.0.conv1.weight"), 0).ok();
    let mut levels: Vec<usize> = (0..).map_while(channels).collect();
    levels.reverse();
    levels
}

/// The settings that tell autoencoders apart.
fn settings_of(shape: ShapeOf) -> Vec<Setting> {
    let latent = extent(shape, "decoder.conv_in.weight", 1).ok();
    let latent = latent.map(|channels| ("latent_channels", channels.to_string()));
    latent.into_iter().chain([("block_out_channels", format!("{:?}", levels(shape)))]).collect()
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
