//! Networks lowered to the IR from their config files, the model families that they belong to, and weights, tokenizers,
//! scheduler and noise.
//!
//! ```
//! use reflux_models::{ModelConfig, Sizes, flux1};
//! let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024, reference: None };
//! let config = ModelConfig::built_in("flux-dev").unwrap();
//! let program = config.lower(&flux1::TRANSFORMER, &sizes, reflux_ir::DType::BF16)?;
//! assert_eq!(program.variants["full"].op_counts()["attention"], 57);
//! # Ok::<(), reflux_models::ModelError>(())
//! ```

mod architecture;
mod clip;
mod config;
mod config_file;
mod configs;
mod defaults;
mod error;
mod families;
mod family;
mod files;
mod first_bytes;
mod geometry;
mod hub;
mod json;
mod model_index;
pub mod names;
mod net;
mod preview;
mod settings;
mod t5;
mod vae;

pub mod flux1;
pub mod lora;
pub mod noise;
pub mod onnx;
pub mod scheduler;
pub mod tokenizer;
pub mod weights;

pub use architecture::{Architecture, Setting, ShapeOf, Untold};
pub use clip::{Activation, CLIP, ClipConfig};
pub use config::ModelConfig;
pub use config_file::{ConfigFile, read_json};
pub use configs::Configs;
pub use error::ModelError;
pub use families::{FAMILIES, all_nets, nets};
pub use family::{Condition, Defaults, Family, Model, TextEncoder};
pub use files::{ModelFile, ModelFiles, Parts};
pub use first_bytes::Foreign;
pub use geometry::{Geometry, Sizes};
pub use net::{Net, Role};
pub use preview::LatentRgb;
pub use settings::{Component, Fixed, Settings};
pub use t5::{T5, T5Config};
pub use vae::{AUTOENCODER_KL, AUTOENCODER_KL_ENCODER, VaeConfig};
