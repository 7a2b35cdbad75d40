//! FLUX.1: all that is known of it by name. See [`Family`](crate::Family) for what each part means.

mod config;
mod family;
pub(crate) mod layouts;
mod nets;
mod settings;
mod transformer;

pub use config::Config;
pub use family::FAMILY;
pub use nets::{CLIP, T5, TRANSFORMER, VAE};
pub use settings::{ARCHITECTURE, TransformerConfig};
