//! From a prompt to a picture: text encoders, the denoising loop, the decoder.
//!
//! [`DiffusionPipeline`] says what flows where; [`Networks`](networks::Networks) has the networks that it flows through ready
//! when they are needed; what a model is, its [`Family`](reflux_models::Family) says.

mod calibrate;
mod compile;
mod compiled;
mod defaults;
mod denoise;
mod diffusion;
mod filter;
mod image;
mod image_format;
mod initial;
mod levels;
mod lora;
mod measured;
mod memory;
mod metadata;
mod networks;
mod noise;
mod options;
mod pictures;
mod prompt;
mod read_image;
mod recorded;
mod reference;
mod registry;
mod replay;
mod report;
mod request;
mod resample;
mod resolved;
mod source;
mod text;
mod tiles;
mod tune;

pub use calibrate::calibrate;
pub use compile::{
    CompileOptions, CompileReport, CompiledProgram, WeightsOfType, add_sizes, compile, verify_compiled,
};
pub(crate) use compiled::Compiled;
pub use compiled::CompiledError;
pub use defaults::bundled_model;
pub(crate) use defaults::{lossless, of_onnx, settle};
pub use diffusion::DiffusionPipeline;
pub(crate) use filter::{Filter, Window, windows};
pub use image::Image;
pub use image_format::ImageFormat;
pub(crate) use lora::FittedLoras;
pub use lora::{LoraFiles, LoraSpec};
pub use measured::Calibration;
pub use memory::Memory;
pub(crate) use memory::{check_fits, smaller};
pub(crate) use networks::open_weights;
pub use options::OpenOptions;
pub use recorded::Recorded;
pub use registry::registry;
pub(crate) use replay::Replay;
pub use report::{Event, Picture, Report, StageTime};
pub(crate) use request::{MOST_AT_ONCE, MOST_TOKENS, within};
pub use request::{ReferenceSize, Request};
pub use source::Source;
pub use tune::{Goal, Objective, Outcome, PREDICTORS, Tried, TuneOptions, Tuned, tune};
