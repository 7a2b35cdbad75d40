//! A transformer's configuration, read off the shapes of its weights.
//!
//! Whether guidance is embedded, the numbers of blocks and heads, and all widths are in the tensors' names and shapes. What is
//! not, how rotary positions share a head's channels, is known for heads of 128 channels, which all published FLUX.1
//! transformers have.

use super::FluxConfig;
use crate::architecture::{ShapeOf, Untold};

/// The configuration of the transformer that weights of these shapes are of.
pub(super) fn config(shape: ShapeOf) -> Result<FluxConfig, Untold> {
    let config = read_off(shape).map_err(Untold::Tensor)?;
    match config.axes_dims_rope.iter().sum::<usize>() == config.attention_head_dim {
        true => Ok(config),
        false => Err(Untold::Why(format!(
            "its attention heads have {} channels, and how their positions share these (axes_dims_rope) is only known for 128",
            config.attention_head_dim
        ))),
    }
}

/// The settings that tell transformers apart.
pub(super) fn settings(shape: ShapeOf) -> Vec<(&'static str, String)> {
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
fn read_off(shape: ShapeOf) -> Result<FluxConfig, String> {
    let extent = |name: &str, axis: usize| {
        let extent = shape(name).and_then(|shape| shape.get(axis).copied()).filter(|&extent| extent > 0);
        extent.ok_or_else(|| name.to_owned())
    };
    let blocks = |list: &str, tensor: &str| {
        (0..).take_while(|i| shape(&format!("{list}.{i}.{tensor}")).is_some()).count()
    };
    let num_layers = blocks("transformer_blocks", "attn.to_out.0.weight");
    let num_single_layers = blocks("single_transformer_blocks", "proj_out.weight");
    let attention_head_dim = match num_layers {
        0 => extent("single_transformer_blocks.0.attn.norm_q.weight", 0),
        _ => extent("transformer_blocks.0.attn.norm_q.weight", 0),
    }?;
    let (inner, in_channels) = (extent("x_embedder.weight", 0)?, extent("x_embedder.weight", 1)?);
    if !inner.is_multiple_of(attention_head_dim) {
        return Err("x_embedder.weight".into());
    }
    let out_channels = extent("proj_out.weight", 0)?;
    Ok(FluxConfig {
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
