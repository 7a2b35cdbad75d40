//! Layouts of text encoder files.

use super::description::Layout;
use super::rule::TensorRule::{Alias, Name};
use crate::clip;
use crate::t5;

/// T5, as transformers saves it. The token embedding is tied to that of the encoder, and which of the two names a file has
/// depends on what saved it.
pub(super) const T5: Layout = Layout {
    architecture: &t5::T5,
    names: "transformers' names",
    example: "encoder.block.0.layer.0.SelfAttention.q.weight",
    marks: &["encoder.block."],
    roots: &[
        "shared.",
        "encoder.block.",
        "encoder.final_layer_norm.",
        "encoder.embed_tokens.",
        "decoder.block.",
        "decoder.final_layer_norm.",
        "decoder.embed_tokens.",
        "lm_head.",
        "logit_scale",
        "spiece_model",
        "tekken_model",
    ],
    unused: &["decoder.", "lm_head.", "logit_scale", "spiece_model", "tekken_model"],
    rules: &[Alias("encoder.embed_tokens.weight", "shared.weight")],
};

/// CLIP's text encoder, as transformers saves it; files of the whole of CLIP have the image encoder too.
pub(super) const CLIP: Layout = Layout {
    architecture: &clip::CLIP,
    names: "transformers' names",
    example: "text_model.encoder.layers.0.self_attn.q_proj.weight",
    marks: &["text_model."],
    roots: &["text_model.", "vision_model.", "visual_projection.", "text_projection.", "logit_scale"],
    unused: &[
        "text_model.embeddings.position_ids",
        "vision_model.",
        "visual_projection.",
        "text_projection.",
        "logit_scale",
    ],
    rules: &[],
};

/// CLIP's text encoder in its own file.
pub(super) const CLIP_BARE: Layout = Layout {
    architecture: &clip::CLIP,
    names: "transformers' names without `text_model.`",
    example: "encoder.layers.0.self_attn.q_proj.weight",
    marks: &["embeddings.token_embedding.", "encoder.layers."],
    roots: &["embeddings.", "encoder.layers.", "final_layer_norm.", "text_projection.", "logit_scale"],
    unused: &["embeddings.position_ids", "text_projection.", "logit_scale"],
    rules: &[
        Name("embeddings.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        Name("embeddings.position_embedding.weight", "text_model.embeddings.position_embedding.weight"),
        Name("encoder.layers.{}.layer_norm1.*", "text_model.encoder.layers.{}.layer_norm1.*"),
        Name("encoder.layers.{}.layer_norm2.*", "text_model.encoder.layers.{}.layer_norm2.*"),
        Name("encoder.layers.{}.self_attn.q_proj.*", "text_model.encoder.layers.{}.self_attn.q_proj.*"),
        Name("encoder.layers.{}.self_attn.k_proj.*", "text_model.encoder.layers.{}.self_attn.k_proj.*"),
        Name("encoder.layers.{}.self_attn.v_proj.*", "text_model.encoder.layers.{}.self_attn.v_proj.*"),
        Name("encoder.layers.{}.self_attn.out_proj.*", "text_model.encoder.layers.{}.self_attn.out_proj.*"),
        Name("encoder.layers.{}.mlp.fc1.*", "text_model.encoder.layers.{}.mlp.fc1.*"),
        Name("encoder.layers.{}.mlp.fc2.*", "text_model.encoder.layers.{}.mlp.fc2.*"),
        Name("final_layer_norm.*", "text_model.final_layer_norm.*"),
    ],
};
