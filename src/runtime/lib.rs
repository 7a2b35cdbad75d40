//! Executes Reflux programs on burn backends.
//!
//! [`load`] gives an [`Execute`] for a program on a [`Device`]; what runs is the program as printed, op by op, each
//! by its one arm in `ops`. A plan made beforehand says when each value is read for the last time, so that memory
//! is returned, or reused in place, as early as can be.

mod coded;
pub mod cuda;
mod device;
mod error;
mod executor;
mod limits;
mod memory;
mod needs;
mod ops;
mod plan;
mod profile;
mod quantize;
mod strides;
mod value;

pub use device::{Device, DeviceError, DeviceInfo, FreeMemory};
pub use error::RunError;
pub use executor::{Execute, load, load_streaming};
pub use memory::MemoryMeter;
pub use needs::{Needs, needs};
pub use profile::{OpTime, Profile, ProfileEntry};
pub use quantize::quantize;

/// The version of burn that programs run on.
pub const BURN_VERSION: &str = "0.21.0";
