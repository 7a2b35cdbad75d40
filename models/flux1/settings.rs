//! Settings of the transformer, from `transformer/config.json` or from the shapes of the weights.
//!
//! Names and shapes of tensors determine whether guidance is embedded, the numbers of blocks and heads, and all widths. They
//! do not determine how rotary positions share the channels of a head; that is known for heads of 128 channels, as in all
//! published FLUX.1 transformers.

use crate::architecture::{Architecture, Setting, ShapeOf, Untold, count, extent};
use crate::family::Condition;
use crate::geometry::Geometry;
use crate::settings::{Component, EXTENTS, Fixed, LAYERS, Settings, within};
use serde::Deserialize;

/// A latent covers 8 × 8 pixels, and a token 2 × 2 latents.
pub(super) const GEOMETRY: Geometry = Geometry { patch: 2, pixels_per_latent: 8 };

/// Its name in diffusers.
const CLASS: &str = "FluxTransformer2DModel";

pub static ARCHITECTURE: Architecture = Architecture {
    title: "a FLUX.1 transformer",
    class: CLASS,
    model_type: None,
    prefixes: &[
        "",
        "model.diffusion_model.",
        "model.",
        "diffusion_model.",
        "transformer.",
        "module.",
        "model.model.",
    ],
    settings: Some(settings_of),
};

/// `transformer/config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TransformerConfig {
    pub in_channels: usize,
    #[serde(default)]
    pub out_channels: Option<usize>,
    #[serde(default = "one")]
    pub patch_size: usize,
    pub num_layers: usize,
    pub num_single_layers: usize,
    pub attention_head_dim: usize,
    pub num_attention_heads: usize,
    pub joint_attention_dim: usize,
    pub pooled_projection_dim: usize,
    #[serde(default)]
    pub guidance_embeds: bool,
    #[serde(default = "flux_axes")]
    pub axes_dims_rope: Vec<usize>,
}

fn one() -> usize {
    1
}

fn flux_axes() -> Vec<usize> {
    vec![16, 56, 56]
}

impl Component for TransformerConfig {
    const SETTINGS: Settings = Settings {
        fixed: &[("_class_name", Fixed::Name(&[CLASS]))],
        without_effect: Some(&[]),
        fix: "give the transformer of a FLUX.1 model",
    };

    fn check(&self) -> Result<(), String> {
        for (setting, layers) in
            [("num_layers", self.num_layers), ("num_single_layers", self.num_single_layers)]
        {
            within(setting, layers, LAYERS)?;
        }
        for (setting, extent) in [
            ("in_channels", self.in_channels),
            ("attention_head_dim", self.attention_head_dim),
            ("num_attention_heads", self.num_attention_heads),
            ("joint_attention_dim", self.joint_attention_dim),
            ("pooled_projection_dim", self.pooled_projection_dim),
        ] {
            within(setting, extent, EXTENTS)?;
        }
        within("num_attention_heads · attention_head_dim", self.inner_dim(), EXTENTS)?;
        let (reads, gives) = (self.in_channels, self.out());
        if ![gives, control_channels(gives), fill_channels(gives)].contains(&reads) {
            return Err(format!(
                "`in_channels` is {reads} and `out_channels` {gives}: with {gives} channels out, FLUX.1 reads {gives}, FLUX.1 Canny \
                 and Depth {}, and FLUX.1 Fill {}",
                control_channels(gives),
                fill_channels(gives)
            ));
        }
        if self.patch_size != 1 {
            return Err(format!("`patch_size` must be 1, not {}", self.patch_size));
        }
        let patch = GEOMETRY.patch * GEOMETRY.patch;
        if !gives.is_multiple_of(patch) {
            return Err(format!("the channels out must be a multiple of {patch}, not {gives}"));
        }
        let axes = &self.axes_dims_rope;
        let rotated = axes.iter().copied().fold(0, usize::saturating_add);
        let rotates = |axis: &usize| *axis > 0 && axis.is_multiple_of(2);
        if axes.len() != 3 || !axes.iter().all(rotates) || rotated != self.attention_head_dim {
            return Err(format!(
                "`axes_dims_rope` must be three even numbers above 0 that add up to `attention_head_dim`, {}, not {axes:?}",
                self.attention_head_dim
            ));
        }
        Ok(())
    }

    fn of_shapes(shape: ShapeOf) -> Result<Self, Untold> {
        config_of(shape)
    }

    /// FLUX.1 Fill, Canny and Depth are FLUX.1-dev but for the channels that they read.
    fn of_variant(self, shape: ShapeOf) -> Self {
        let Ok(TransformerConfig { in_channels, .. }) = read_off(shape) else { return self };
        let out = self.out();
        match [out, control_channels(out), fill_channels(out)].contains(&in_channels) {
            true => Self { in_channels, out_channels: Some(out), ..self },
            false => self,
        }
    }
}

/// The channels per token that FLUX.1 Canny and Depth read: latents, and those of a control picture.
const fn control_channels(latents: usize) -> usize {
    latents.saturating_mul(2)
}

/// The channels per token that FLUX.1 Fill reads: latents, those of a picture, and the mask of each of the token's pixels.
const fn fill_channels(latents: usize) -> usize {
    let pixels = GEOMETRY.pixels_per_token();
    latents.saturating_mul(2).saturating_add(pixels * pixels)
}

impl TransformerConfig {
    /// Channels of a token that it gives: those of latents.
    pub fn out(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }

    /// What it reads in each token after latents.
    pub(super) fn condition(&self) -> Condition {
        match self.in_channels {
            reads if reads == control_channels(self.out()) => Condition::Control,
            reads if reads == fill_channels(self.out()) => Condition::Masked,
            _ => Condition::None,
        }
    }

    /// Width of the residual stream.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads.saturating_mul(self.attention_head_dim)
    }
}

/// The configuration of the transformer whose weights have these shapes.
fn config_of(shape: ShapeOf) -> Result<TransformerConfig, Untold> {
    let config = read_off(shape)?;
    match config.axes_dims_rope.iter().sum::<usize>() == config.attention_head_dim {
        true => Ok(config),
        false => Err(Untold::Why(format!(
            "its attention heads have {} channels, but axes_dims_rope is only known for 128",
            config.attention_head_dim
        ))),
    }
}

/// The settings that tell transformers apart.
fn settings_of(shape: ShapeOf) -> Vec<Setting> {
    let Ok(config) = read_off(shape) else { return Vec::new() };
    vec![
        ("num_layers", config.num_layers.to_string()),
        ("num_single_layers", config.num_single_layers.to_string()),
        ("num_attention_heads", config.num_attention_heads.to_string()),
        ("attention_head_dim", config.attention_head_dim.to_string()),
        ("in_channels", config.in_channels.to_string()),
        ("joint_attention_dim", config.joint_attention_dim.to_string()),
        ("pooled_projection_dim", config.pooled_projection_dim.to_string()),
        ("guidance_embeds", config.guidance_embeds.to_string()),
    ]
}

/// The configuration of a transformer whose tensors have these shapes, by diffusers' names. Its `axes_dims_rope` are those of
/// heads of 128 channels. Or the name of a tensor without which it cannot be told.
fn read_off(shape: ShapeOf) -> Result<TransformerConfig, Untold> {
    let extent = |name: &str, axis: usize| extent(shape, name, axis);
    let blocks = |list: &str, tensor: &str| count(shape, |index| format!("{list}.{index}.{tensor}"));
    let num_layers = blocks("transformer_blocks", "attn.to_out.0.weight");
    let num_single_layers = blocks("single_transformer_blocks", "proj_out.weight");
    let attention_head_dim = match num_layers {
        0 => extent("single_transformer_blocks.0.attn.norm_q.weight", 0),
        _ => extent("transformer_blocks.0.attn.norm_q.weight", 0),
    }?;
    let (inner, in_channels) = (extent("x_embedder.weight", 0)?, extent("x_embedder.weight", 1)?);
    if !inner.is_multiple_of(attention_head_dim) {
        return Err(Untold::Tensor("x_embedder.weight".into()));
    }
    let out_channels = extent("proj_out.weight", 0)?;
    Ok(TransformerConfig {
        in_channels,
        out_channels: (out_channels != in_channels).then_some(out_channels),
        patch_size: 1,
        num_layers,
        num_single_layers,
        attention_head_dim,
        num_attention_heads: inner / attention_head_dim,
        joint_attention_dim: extent("context_embedder.weight", 1)?,
        pooled_projection_dim: extent("time_text_embed.text_embedder.linear_1.weight", 1)?,
        guidance_embeds: shape("time_text_embed.guidance_embedder.linear_1.weight").is_some(),
        axes_dims_rope: vec![16, 56, 56],
    })
}
