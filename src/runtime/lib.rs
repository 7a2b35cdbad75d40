//! Executes Reflux programs on burn backends.
//!
//! [`load`] gives an [`Execute`] for a program on a [`Device`]; what runs is the program as printed, op by op, each
//! by its one arm in `ops`. A plan made beforehand says when each value is read for the last time, so that memory
//! is returned, or reused in place, as early as can be.

pub mod backend;
mod coded;
mod compare;
mod device;
mod error;
mod execute;
mod executor;
mod integral;
mod liveness;
mod load;
mod memory;
mod needs;
mod ops;
mod profile;
pub mod proof;
mod quantize;
mod ranks;
mod runs;
mod strides;
mod value;
mod weight;

pub use backend::{DeviceInfo, Form, FreeMemory, LinkInfo, Oracle};
pub use compare::distance;
pub use device::{Device, MachineOf};
pub use error::{DeviceError, RunError};
pub use execute::Execute;
pub use integral::Integral;
pub use load::{load, load_shared, load_streaming};
pub use memory::MemoryMeter;
pub use needs::{Needs, needs};
pub use profile::{OpTime, Profile, ProfileEntry};
pub use quantize::quantize;
pub use runs::{StepResults, random_inputs, run_steps};
pub use weight::read_weight;

/// The version of burn that programs run on.
pub const BURN_VERSION: &str = "0.21.0";
