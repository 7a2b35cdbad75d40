//! Adapters of other models, told by the names of their modules.

/// Parts of names, with underscores for dots, that only adapters of one model have, and what that is. The first that fits
/// counts.
const MARKS: &[(&str, &str)] = &[
    ("double_stream_modulation", "FLUX.2"),
    ("to_qkv_mlp_proj", "FLUX.2"),
    ("ff_linear_in", "FLUX.2"),
    ("distilled_guidance_layer", "Chroma"),
    ("down_blocks_", "Stable Diffusion (1, 2 or XL)"),
    ("input_blocks_", "Stable Diffusion (1, 2 or XL)"),
    ("up_blocks_", "Stable Diffusion (1, 2 or XL)"),
    ("output_blocks_", "Stable Diffusion (1, 2 or XL)"),
    ("joint_blocks_", "Stable Diffusion 3"),
    ("joint_transformer_blocks_", "AuraFlow"),
    ("img_mod_1", "Qwen-Image"),
    ("img_mlp_net_0_proj", "Qwen-Image"),
    ("double_stream_blocks_", "HiDream"),
    ("individual_token_refiner", "HunyuanVideo"),
    ("noise_refiner", "Lumina or Z-Image"),
    ("cross_attn", "Wan"),
    ("_attn1_", "a model with cross-attention, such as LTX-Video or PixArt"),
];

/// What model the module `name` is of, if it is one of these.
pub(super) fn model_of(name: &str) -> Option<&'static str> {
    let flat = name.replace('.', "_");
    MARKS.iter().find(|(mark, _)| flat.contains(mark)).map(|(_, what)| *what)
}
