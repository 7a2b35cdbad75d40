//! Weights saved in the types in which a program reads them: numbers, codes with their scales, blocks.
//!
//! They are safetensors files whose metadata has the type of each weight under its name, as IR text writes it:
//! `i8.row.bf16[3072,3072]`. Nothing is quantized, cast or merged when they are read; [`pieces`] says what tensors a weight is.

mod pieces;
mod reader;
mod writer;

pub use reader::{NotSaved, SavedWeights};
pub use writer::{Shard, shards};
