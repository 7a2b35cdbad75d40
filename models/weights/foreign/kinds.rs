//! Common kinds of checkpoints that Reflux does not support.

/// A kind of checkpoint, by parts of names that only it has.
pub(super) struct ForeignKind {
    pub what: &'static str,
    /// Each must be part of the name of some tensor.
    pub marks: &'static [&'static str],
    pub advice: &'static str,
}

impl ForeignKind {
    pub fn is_of<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.marks.iter().all(|mark| names.clone().any(|name| name.contains(mark)))
    }

    /// The first tensor that shows it.
    pub fn example<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        names.find(|name| self.marks.first().is_some_and(|mark| name.contains(mark)))
    }
}

const LORA: &str = "it changes a model and is none by itself: apply it with --lora";

const OTHER_MODEL: &str = "Reflux draws with FLUX.1 only: give a FLUX.1 model";

const ADAPTER: &str =
    "it is used beside a transformer and is none by itself, and Reflux cannot use such yet: leave it away";

const QUANTIZED: &str = "Reflux reads bf16, f16, f32 and plain fp8, and cannot read this yet: give the file it was made from, \
                         and quantize it here, for example by the pass `quantize(int4wo)`";

/// The first that fits counts, so that the more special come first.
pub(super) const KINDS: &[ForeignKind] = &[
    // Their low-rank parts are no LoRA.
    ForeignKind {
        what: "quantized by SVDQuant (Nunchaku)",
        marks: &["qweight", "wscales"],
        advice: QUANTIZED,
    },
    ForeignKind { what: "a LoRA with kohya's names", marks: &["lora_unet_"], advice: LORA },
    ForeignKind { what: "a LoRA with OneTrainer's names", marks: &["lora_transformer_"], advice: LORA },
    ForeignKind { what: "a LoRA of text encoders", marks: &["lora_te"], advice: LORA },
    ForeignKind { what: "a LyCORIS LoRA", marks: &["lycoris_"], advice: LORA },
    ForeignKind { what: "a LyCORIS LoRA (LoHa)", marks: &["hada_w1"], advice: LORA },
    ForeignKind { what: "a LyCORIS LoRA (LoKr)", marks: &["lokr_w"], advice: LORA },
    ForeignKind { what: "a LyCORIS LoRA (OFT)", marks: &["oft_blocks"], advice: LORA },
    ForeignKind { what: "a LoRA with XLabs' names", marks: &["_lora", ".processor."], advice: LORA },
    ForeignKind {
        what: "a LoRA with Black Forest Labs' names",
        marks: &[".lora_A", "double_blocks."],
        advice: LORA,
    },
    ForeignKind {
        what: "a LoRA with Black Forest Labs' names",
        marks: &[".lora_A", "single_blocks."],
        advice: LORA,
    },
    ForeignKind { what: "a LoRA with diffusers' names", marks: &[".lora_A"], advice: LORA },
    ForeignKind { what: "a LoRA with diffusers' names", marks: &[".lora.down"], advice: LORA },
    ForeignKind { what: "a LoRA", marks: &["lora_down"], advice: LORA },
    ForeignKind { what: "a LoRA", marks: &["lora_up"], advice: LORA },
    ForeignKind { what: "a LoRA", marks: &["lora_B"], advice: LORA },
    ForeignKind { what: "a LoRA", marks: &["lora_magnitude_vector"], advice: LORA },
    ForeignKind { what: "a LoRA", marks: &["dora_scale"], advice: LORA },
    ForeignKind { what: "a LoRA of full matrices", marks: &[".diff_b"], advice: LORA },
    ForeignKind { what: "Chroma", marks: &["distilled_guidance_layer."], advice: OTHER_MODEL },
    ForeignKind { what: "FLUX.2", marks: &["double_stream_modulation_img."], advice: OTHER_MODEL },
    ForeignKind { what: "Stable Diffusion XL", marks: &["conditioner.embedders.1."], advice: OTHER_MODEL },
    ForeignKind {
        what: "Stable Diffusion XL",
        marks: &["add_embedding.linear_1.", "down_blocks."],
        advice: OTHER_MODEL,
    },
    ForeignKind {
        what: "Stable Diffusion XL",
        marks: &["label_emb.0.0.", "input_blocks."],
        advice: OTHER_MODEL,
    },
    ForeignKind { what: "a ControlNet", marks: &["controlnet_"], advice: ADAPTER },
    ForeignKind { what: "a ControlNet", marks: &["input_hint_block."], advice: ADAPTER },
    ForeignKind { what: "a ControlNet", marks: &["control_model."], advice: ADAPTER },
    ForeignKind {
        what: "Stable Diffusion 1 or 2",
        marks: &["input_blocks.", "output_blocks.", "middle_block."],
        advice: OTHER_MODEL,
    },
    ForeignKind {
        what: "a UNet of Stable Diffusion",
        marks: &["down_blocks.0.attentions.0.transformer_blocks."],
        advice: OTHER_MODEL,
    },
    ForeignKind {
        what: "a UNet of Stable Diffusion",
        marks: &["mid_block.attentions.0.transformer_blocks."],
        advice: OTHER_MODEL,
    },
    ForeignKind { what: "Stable Diffusion 3", marks: &["joint_blocks."], advice: OTHER_MODEL },
    ForeignKind {
        what: "Stable Diffusion 3",
        marks: &["pos_embed.proj.", ".attn.add_k_proj."],
        advice: OTHER_MODEL,
    },
    ForeignKind { what: "HunyuanVideo", marks: &["individual_token_refiner"], advice: OTHER_MODEL },
    ForeignKind { what: "HunyuanVideo", marks: &["context_embedder.token_refiner"], advice: OTHER_MODEL },
    ForeignKind { what: "Qwen-Image", marks: &["transformer_blocks.0.img_mod.1."], advice: OTHER_MODEL },
    ForeignKind { what: "HiDream", marks: &["double_stream_blocks."], advice: OTHER_MODEL },
    ForeignKind { what: "AuraFlow", marks: &["double_layers."], advice: OTHER_MODEL },
    ForeignKind { what: "AuraFlow", marks: &["joint_transformer_blocks."], advice: OTHER_MODEL },
    ForeignKind { what: "LTX-Video", marks: &["patchify_proj."], advice: OTHER_MODEL },
    ForeignKind {
        what: "PixArt or Sana",
        marks: &["caption_projection.", "transformer_blocks."],
        advice: OTHER_MODEL,
    },
    ForeignKind { what: "Lumina or Z-Image", marks: &["noise_refiner."], advice: OTHER_MODEL },
    ForeignKind { what: "Wan", marks: &["blocks.0.cross_attn.", "patch_embedding."], advice: OTHER_MODEL },
    ForeignKind { what: "an IP-Adapter", marks: &["ip_adapter"], advice: ADAPTER },
    ForeignKind { what: "PuLID", marks: &["pulid_"], advice: ADAPTER },
    ForeignKind { what: "FLUX.1 Redux", marks: &["redux_up."], advice: ADAPTER },
];

/// Looked for where no known network has been found.
pub(super) const LAST: &[ForeignKind] = &[
    ForeignKind { what: "an IP-Adapter", marks: &["image_proj."], advice: ADAPTER },
    ForeignKind {
        what: "CLIP with OpenAI's names",
        marks: &["transformer.resblocks."],
        advice: "Reflux reads CLIP with transformers' names: give such a file, for example the model's text_encoder/",
    },
    ForeignKind {
        what: "an image encoder",
        marks: &["vision_model."],
        advice: "FLUX.1 encodes text only: give one of its networks",
    },
    ForeignKind {
        what: "a language model",
        marks: &["layers.0.self_attn.q_proj."],
        advice: "FLUX.1 encodes text with CLIP and T5: give these",
    },
];
