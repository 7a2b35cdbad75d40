//! Layouts of FLUX.1 transformer files.

use super::settings::ARCHITECTURE;
use crate::weights::layout::Layout;
use crate::weights::layout::TensorRule::{Halves, Name, Rows};

/// As diffusers saves them.
pub(crate) const DIFFUSERS: Layout = Layout {
    architecture: &ARCHITECTURE,
    names: "diffusers' names",
    example: "transformer_blocks.0.attn.to_q.weight",
    marks: &["transformer_blocks.", "single_transformer_blocks."],
    roots: &[
        "transformer_blocks.",
        "single_transformer_blocks.",
        "time_text_embed.",
        "x_embedder.",
        "context_embedder.",
        "norm_out.",
        "proj_out.",
    ],
    unused: &[],
    rules: &[],
};

/// As Black Forest Labs publishes them: the projections of a token are one tensor (`qkv`, `linear1`) where diffusers has one
/// each, and the last norm's shift comes before its scale.
pub(crate) const BFL: Layout = Layout {
    architecture: &ARCHITECTURE,
    names: "Black Forest Labs' names",
    example: "double_blocks.0.img_attn.qkv.weight",
    marks: &["double_blocks.", "single_blocks."],
    roots: &[
        "double_blocks.",
        "single_blocks.",
        "img_in.",
        "txt_in.",
        "time_in.",
        "vector_in.",
        "guidance_in.",
        "final_layer.",
    ],
    unused: &[],
    rules: &[
        Name("img_in.*", "x_embedder.*"),
        Name("txt_in.*", "context_embedder.*"),
        Name("time_in.in_layer.*", "time_text_embed.timestep_embedder.linear_1.*"),
        Name("time_in.out_layer.*", "time_text_embed.timestep_embedder.linear_2.*"),
        Name("vector_in.in_layer.*", "time_text_embed.text_embedder.linear_1.*"),
        Name("vector_in.out_layer.*", "time_text_embed.text_embedder.linear_2.*"),
        Name("guidance_in.in_layer.*", "time_text_embed.guidance_embedder.linear_1.*"),
        Name("guidance_in.out_layer.*", "time_text_embed.guidance_embedder.linear_2.*"),
        Halves("final_layer.adaLN_modulation.1.*", "norm_out.linear.*"),
        Name("final_layer.linear.*", "proj_out.*"),
        Name("double_blocks.{}.img_mod.lin.*", "transformer_blocks.{}.norm1.linear.*"),
        Rows(
            "double_blocks.{}.img_attn.qkv.*",
            &[
                "transformer_blocks.{}.attn.to_q.*",
                "transformer_blocks.{}.attn.to_k.*",
                "transformer_blocks.{}.attn.to_v.*",
            ],
        ),
        Name("double_blocks.{}.img_attn.norm.query_norm.scale", "transformer_blocks.{}.attn.norm_q.weight"),
        Name("double_blocks.{}.img_attn.norm.key_norm.scale", "transformer_blocks.{}.attn.norm_k.weight"),
        Name("double_blocks.{}.img_attn.proj.*", "transformer_blocks.{}.attn.to_out.0.*"),
        Name("double_blocks.{}.img_mlp.0.*", "transformer_blocks.{}.ff.net.0.proj.*"),
        Name("double_blocks.{}.img_mlp.2.*", "transformer_blocks.{}.ff.net.2.*"),
        Name("double_blocks.{}.txt_mod.lin.*", "transformer_blocks.{}.norm1_context.linear.*"),
        Rows(
            "double_blocks.{}.txt_attn.qkv.*",
            &[
                "transformer_blocks.{}.attn.add_q_proj.*",
                "transformer_blocks.{}.attn.add_k_proj.*",
                "transformer_blocks.{}.attn.add_v_proj.*",
            ],
        ),
        Name(
            "double_blocks.{}.txt_attn.norm.query_norm.scale",
            "transformer_blocks.{}.attn.norm_added_q.weight",
        ),
        Name(
            "double_blocks.{}.txt_attn.norm.key_norm.scale",
            "transformer_blocks.{}.attn.norm_added_k.weight",
        ),
        Name("double_blocks.{}.txt_attn.proj.*", "transformer_blocks.{}.attn.to_add_out.*"),
        Name("double_blocks.{}.txt_mlp.0.*", "transformer_blocks.{}.ff_context.net.0.proj.*"),
        Name("double_blocks.{}.txt_mlp.2.*", "transformer_blocks.{}.ff_context.net.2.*"),
        Name("single_blocks.{}.modulation.lin.*", "single_transformer_blocks.{}.norm.linear.*"),
        Rows(
            "single_blocks.{}.linear1.*",
            &[
                "single_transformer_blocks.{}.attn.to_q.*",
                "single_transformer_blocks.{}.attn.to_k.*",
                "single_transformer_blocks.{}.attn.to_v.*",
                "single_transformer_blocks.{}.proj_mlp.*",
            ],
        ),
        Name("single_blocks.{}.linear2.*", "single_transformer_blocks.{}.proj_out.*"),
        Name("single_blocks.{}.norm.query_norm.scale", "single_transformer_blocks.{}.attn.norm_q.weight"),
        Name("single_blocks.{}.norm.key_norm.scale", "single_transformer_blocks.{}.attn.norm_k.weight"),
    ],
};

/// How XLabs' trainer names adapters: after the attention's processors, 1 for the picture and 2 for the text.
pub(crate) const XLABS: Layout = Layout {
    architecture: &ARCHITECTURE,
    names: "XLabs' names",
    example: "double_blocks.0.processor.qkv_lora1.down.weight",
    marks: &[],
    roots: &[],
    unused: &[],
    rules: &[
        Rows(
            "double_blocks.{}.processor.qkv_lora1.*",
            &[
                "transformer_blocks.{}.attn.to_q.*",
                "transformer_blocks.{}.attn.to_k.*",
                "transformer_blocks.{}.attn.to_v.*",
            ],
        ),
        Name("double_blocks.{}.processor.proj_lora1.*", "transformer_blocks.{}.attn.to_out.0.*"),
        Rows(
            "double_blocks.{}.processor.qkv_lora2.*",
            &[
                "transformer_blocks.{}.attn.add_q_proj.*",
                "transformer_blocks.{}.attn.add_k_proj.*",
                "transformer_blocks.{}.attn.add_v_proj.*",
            ],
        ),
        Name("double_blocks.{}.processor.proj_lora2.*", "transformer_blocks.{}.attn.to_add_out.*"),
        Rows(
            "single_blocks.{}.processor.qkv_lora.*",
            &[
                "single_transformer_blocks.{}.attn.to_q.*",
                "single_transformer_blocks.{}.attn.to_k.*",
                "single_transformer_blocks.{}.attn.to_v.*",
            ],
        ),
        Name("single_blocks.{}.processor.proj_lora.*", "single_transformer_blocks.{}.proj_out.*"),
    ],
};

/// Projections that some trainers fuse otherwise: those of diffusers, and of `linear1` without the MLP's.
pub(crate) const FUSED: Layout = Layout {
    architecture: &ARCHITECTURE,
    names: "names of fused projections",
    example: "transformer_blocks.0.attn.to_qkv.lora_A.weight",
    marks: &[],
    roots: &[],
    unused: &[],
    rules: &[
        Rows(
            "transformer_blocks.{}.attn.to_qkv.*",
            &[
                "transformer_blocks.{}.attn.to_q.*",
                "transformer_blocks.{}.attn.to_k.*",
                "transformer_blocks.{}.attn.to_v.*",
            ],
        ),
        Rows(
            "transformer_blocks.{}.attn.to_added_qkv.*",
            &[
                "transformer_blocks.{}.attn.add_q_proj.*",
                "transformer_blocks.{}.attn.add_k_proj.*",
                "transformer_blocks.{}.attn.add_v_proj.*",
            ],
        ),
        Rows(
            "single_blocks.{}.linear1_qkv.*",
            &[
                "single_transformer_blocks.{}.attn.to_q.*",
                "single_transformer_blocks.{}.attn.to_k.*",
                "single_transformer_blocks.{}.attn.to_v.*",
            ],
        ),
    ],
};
