//! Layouts of text encoder files.

use super::description::Layout;
use super::rule::Rule::{Alias, Name};
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

/// T5's encoder in GGUF files, as llama.cpp names its tensors.
pub(super) const T5_GGUF: Layout = Layout {
    architecture: &t5::T5,
    names: "llama.cpp's names",
    example: "enc.blk.0.attn_q.weight",
    marks: &["enc.blk."],
    roots: &["token_embd.", "enc.", "dec.", "output."],
    unused: &["dec.", "output."],
    rules: &[
        Name("token_embd.weight", "shared.weight"),
        Name("enc.blk.{}.attn_norm.weight", "encoder.block.{}.layer.0.layer_norm.weight"),
        Name("enc.blk.{}.attn_q.weight", "encoder.block.{}.layer.0.SelfAttention.q.weight"),
        Name("enc.blk.{}.attn_k.weight", "encoder.block.{}.layer.0.SelfAttention.k.weight"),
        Name("enc.blk.{}.attn_v.weight", "encoder.block.{}.layer.0.SelfAttention.v.weight"),
        Name("enc.blk.{}.attn_o.weight", "encoder.block.{}.layer.0.SelfAttention.o.weight"),
        Name(
            "enc.blk.{}.attn_rel_b.weight",
            "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        Name("enc.blk.{}.ffn_norm.weight", "encoder.block.{}.layer.1.layer_norm.weight"),
        Name("enc.blk.{}.ffn_gate.weight", "encoder.block.{}.layer.1.DenseReluDense.wi_0.weight"),
        Name("enc.blk.{}.ffn_up.weight", "encoder.block.{}.layer.1.DenseReluDense.wi_1.weight"),
        Name("enc.blk.{}.ffn_down.weight", "encoder.block.{}.layer.1.DenseReluDense.wo.weight"),
        Name("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
    ],
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
