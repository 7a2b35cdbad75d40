//! Reflux is a graph-rewriting optimizer for diffusion transformers such as FLUX.1: the pipeline as graphs that can be read,
//! rewritten and run.
//!
//! ```
//! use reflux::{DiffusionPipeline, Request};
//!
//! # let out = tempfile::tempdir()?;
//! # let path = out.path().join("apple.png");
//! let mut pipeline = DiffusionPipeline::open(reflux::bundled_model()?)?;
//! let request = Request::new("a red apple on a blue background").steps(4);
//! let images = pipeline.generate(&request)?;
//! images[0].save(&path)?;
//! # assert_eq!(images[0].width(), 128);
//! # assert!(std::fs::metadata(&path)?.len() > 1000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The parts are separate crates: [`ir`] (graphs, text, verifier), [`models`] (networks lowered to it), [`passes`], and
//! [`runtime`] (the executor).

// They panic when the reader is gone; `cli::console` does not.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub use reflux_ir as ir;
pub use reflux_models as models;
pub use reflux_passes as passes;
pub use reflux_runtime as runtime;

pub mod cli;
mod comparison;
mod digest;
mod distances;
mod error;
pub mod evaluation;
pub mod explore;
mod files;
mod json_lines;
mod page;
mod pipeline;
mod statistics;
mod tensors;

pub use error::Error;
pub use pipeline::{
    Calibration, CompileOptions, CompileReport, CompiledError, CompiledProgram, DiffusionPipeline, Event,
    Goal, Image, ImageFormat, LoraFiles, LoraSpec, Memory, Objective, OpenOptions, Outcome, Picture,
    Recorded, ReferenceSize, Report, Request, Source, StageTime, Tried, TuneOptions, Tuned, WeightsOfType,
    add_sizes, bundled_model, calibrate, compile, registry, tune, verify_compiled,
};
pub use reflux_models::Defaults;

/// This version of Reflux.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
