//! FLUX.1: its networks, and what its models are drawn with. See [`Family`] for what each part means.

mod config;
mod infer;
pub(crate) mod layouts;
mod transformer;

pub use config::Config;
pub use transformer::{ARCHITECTURE, FluxConfig};

use crate::clip;
use crate::family::Family;
use crate::geometry::Geometry;
use crate::net::{Length, Net, Role};
use crate::t5;
use crate::vae;
use std::sync::Arc;

pub static FAMILY: Family = Family {
    name: "FLUX.1",
    nets: NETS,
    tokenizers: &["tokenizer", "tokenizer_2"],
    geometry: GEOMETRY,
    // Pipelines that edit pictures do so with the same weights as the first, or with weights of the same shapes.
    pipelines: &["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"],
    others: &[
        ("FluxFill", "FLUX.1 Fill, which completes a picture"),
        ("FluxControlNet", "a ControlNet for FLUX.1"),
        ("FluxControl", "FLUX.1 Canny or FLUX.1 Depth, which follow the edges or the depth of a picture"),
        ("FluxPriorRedux", "FLUX.1 Redux, which varies a picture"),
        ("Flux2", "FLUX.2"),
        ("Chroma", "Chroma"),
        ("StableDiffusion", "Stable Diffusion"),
    ],
    examples: "FLUX.1-dev or FLUX.1-schnell",
    built_in: &[
        ("flux-dev", include_str!("configs/flux-dev.json")),
        ("flux-schnell", include_str!("configs/flux-schnell.json")),
    ],
    outside_blocks: &["time_text_embed", "x_embedder", "context_embedder", "norm_out", "proj_out"],
    read: |configs| Ok(Arc::new(Config::read(configs)?)),
    parse: |json| Arc::new(Config::parse(json)),
};

/// A latent covers 8 × 8 pixels, and a token 2 × 2 latents.
pub(crate) const GEOMETRY: Geometry = Geometry { patch: 2, pixels_per_latent: 8 };

static NETS: &[&Net] = &[&CLIP, &T5, &TRANSFORMER, &VAE];

pub static CLIP: Net = Net {
    name: "clip",
    folder: "text_encoder",
    help: "the text encoder CLIP, such as clip_l.safetensors",
    architecture: &clip::CLIP,
    role: Role::TextEncoder(Length::Fixed),
    family: NETS,
};

pub static T5: Net = Net {
    name: "t5",
    folder: "text_encoder_2",
    help: "the text encoder T5, such as t5xxl_fp16.safetensors",
    architecture: &t5::T5,
    role: Role::TextEncoder(Length::Asked),
    family: NETS,
};

pub static TRANSFORMER: Net = Net {
    name: "transformer",
    folder: "transformer",
    help: "the transformer: a file, such as flux1-dev.safetensors, a folder, or a model that has some",
    architecture: &transformer::ARCHITECTURE,
    role: Role::Denoiser,
    family: NETS,
};

pub static VAE: Net = Net {
    name: "vae",
    folder: "vae",
    help: "the autoencoder, such as ae.safetensors",
    architecture: &vae::AUTOENCODER_KL,
    role: Role::Decoder,
    family: NETS,
};
