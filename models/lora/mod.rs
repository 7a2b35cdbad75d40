//! LoRAs: small changes of a model's weights, in files of their own.
//!
//! [`LoraFile`] is a file of any of the forms that trainers write, of which only the header has been read; [`Lora`] is one
//! on the modules of a model, with every name, shape and number checked; [`Loras`] are several, with their strengths.
//! [`LoraWeights`] are the weights of a network with LoRAs: merged one tensor at a time, in f32, rounded once, or beside the
//! products of its linears.
//!
//! A module changes by `S · alpha / rank · B · A` (LoRA), by `S` times a Kronecker product (LoKr), a product of two products
//! (LoHa) or a whole matrix (`.diff`). A DoRA gives the rows of what comes of it the norms `m`:
//! `W' = m · (W + S · Δ) / ‖W + S · Δ‖`, as in PEFT, with the strength `S` inside of the norm.

mod applied;
mod change;
mod error;
mod file;
mod fit;
mod foreign;
mod info;
mod kind;
mod merge;
mod metadata;
mod parameter;
mod places;
mod weights;

pub use applied::{Kept, Loras, LowRank, MERGED, Part, base_of};
pub use error::{LoraError, Unused};
pub use file::LoraFile;
pub use fit::Lora;
pub use info::{LoraInfo, LoraUse};
pub use places::Places;
pub use weights::LoraWeights;
