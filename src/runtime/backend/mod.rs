//! The backends that programs run on.
//!
//! A backend is a folder here with a type that implements `Backend`, and a line in `BACKENDS`. Code above this folder knows
//! backends only through the trait, and none by name. To add one, say for AMD's GPUs through burn's HIP backend:
//!
//! 1. `backend/rocm/mod.rs`: a type that implements `Backend`, which finds the device, its memory, and loads programs; and
//!    `BurnBackend` for burn's type. An empty `impl BurnBackend for Hip {}` suffices: every op is then composed of burn's own.
//! 2. Its `mod` and its line in `BACKENDS` below; and in `LEFT_OUT` if it is behind a cargo feature, which `Cargo.toml` names
//!    here and in the root. One that plans whole graphs, as the CUDA engine does, uses the imports below that only CUDA uses
//!    today.
//! 3. If its devices have no cost table yet: `src/ir/machine/NAME.toml` and its name in `tables!` of `src/ir/machine.rs`, so
//!    that `fuse` knows what is fast there, and its name in the backend's list of `machines`. A new GPU model of an existing
//!    backend needs only this step.
//!
//! Everything else follows: the names of devices, `reflux doctor` and its proofs of kernels, the default passes, memory planning.

mod burn_backend;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod interface;

pub(crate) use burn_backend::{BurnBackend, GraphRunner, Kept, Loader, Mark, Others, Unplanned};
#[cfg(feature = "cuda")]
pub(crate) use burn_backend::{GraphResult, Observer};
#[cfg(feature = "cuda")]
pub(crate) use interface::PlannedMemory;
pub(crate) use interface::{Backend, BackendFacts, Loading, Meter};
pub use interface::{DeviceInfo, Form, FreeMemory, LinkInfo, Oracle};

/// The processor, which is always present and is the reference for the others.
pub(crate) static HOST: &dyn Backend = &cpu::Host;

/// All backends of this build, the fastest first: the first whose device is there is the default.
pub(crate) static BACKENDS: &[&dyn Backend] = &[
    #[cfg(feature = "cuda")]
    &cuda::Nvidia,
    &cpu::Host,
];

/// Backends that this build is without: their names, which are those of their cargo features.
pub(crate) const LEFT_OUT: &[&str] = &[
    #[cfg(not(feature = "cuda"))]
    "cuda",
];
