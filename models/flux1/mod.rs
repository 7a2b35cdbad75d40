//! The FLUX.1 family: everything that is specific to it, and here its networks. [`Family`](crate::Family) documents the parts.

mod config;
pub(crate) mod layouts;
mod preview;
mod settings;
mod tokens;
mod transformer;

pub use config::{Config, FAMILY};
pub use settings::{ARCHITECTURE, TransformerConfig};

use crate::clip;
use crate::net::{Net, Role};
use crate::t5;
use crate::vae;

/// All that every picture needs, in the order in which it needs them.
static NETS: &[&Net] = &[&CLIP, &T5, &TRANSFORMER, &VAE];

pub static CLIP: Net = Net {
    name: "clip",
    folder: "text_encoder",
    help: "the text encoder CLIP, such as clip_l.safetensors",
    architecture: &clip::CLIP,
    role: Role::TextEncoder,
    shares: None,
    family: NETS,
};

pub static T5: Net = Net {
    name: "t5",
    folder: "text_encoder_2",
    help: "the text encoder T5, such as t5xxl_fp16.safetensors",
    architecture: &t5::T5,
    role: Role::TextEncoder,
    shares: None,
    family: NETS,
};

pub static TRANSFORMER: Net = Net {
    name: "transformer",
    folder: "transformer",
    help: "the transformer: a file, such as flux1-dev.safetensors, a folder, or a model",
    architecture: &ARCHITECTURE,
    role: Role::Denoiser,
    shares: None,
    family: NETS,
};

pub static VAE: Net = Net {
    name: "vae",
    folder: "vae",
    help: "the autoencoder, such as ae.safetensors",
    architecture: &vae::AUTOENCODER_KL,
    role: Role::Decoder,
    shares: None,
    family: NETS,
};

pub static VAE_ENCODER: Net = Net {
    name: "vae-encoder",
    folder: "vae",
    help: "the autoencoder's encoder",
    architecture: &vae::AUTOENCODER_KL_ENCODER,
    role: Role::Encoder,
    shares: Some(&VAE),
    family: NETS,
};
