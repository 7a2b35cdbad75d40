//! FLUX.1's networks lowered to the IR from their config files, and what a pipeline needs around them: weights,
//! tokenizers, scheduler and noise.
//!
//! ```
//! use reflux_models::{ModelConfig, Net, Sizes};
//! let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024 };
//! let config = ModelConfig::built_in("flux-dev").unwrap();
//! let program = config.lower(Net::Transformer, &sizes, reflux_ir::DType::BF16)?;
//! assert_eq!(program.variants["full"].op_counts()["attention"], 57);
//! # Ok::<(), reflux_models::ModelError>(())
//! ```

mod clip;
mod config;
mod error;
mod files;
mod first_bytes;
mod flux;
mod hub;
mod json;
mod model_index;
mod settings;
mod t5;
mod vae;

pub mod noise;
pub mod scheduler;
pub mod tokenizer;
pub mod weights;

pub use clip::{Activation, ClipConfig};
pub use config::{ModelConfig, Net, PATCH, PIXELS_PER_TOKEN, Sizes};
pub use error::ModelError;
pub use files::{ModelFiles, Parts};
pub use first_bytes::Foreign;
pub use flux::{FluxConfig, conditioned_on_pictures};
pub use settings::{Part, Settings, read_json, read_part};
pub use t5::T5Config;
pub use vae::VaeConfig;
