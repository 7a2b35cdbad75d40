//! `--memory`, and messages about memory.

use super::console::say;
use crate::pipeline::Memory;
use reflux_runtime::Device;

/// What stays on the device.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum MemoryArg {
    /// All networks
    #[default]
    Resident,
    /// Only what steps and the decoder need; text encoders and weights of prepare stages are freed after use
    Low,
}

impl From<MemoryArg> for Memory {
    fn from(arg: MemoryArg) -> Self {
        match arg {
            MemoryArg::Resident => Self::Resident,
            MemoryArg::Low => Self::Low,
        }
    }
}

/// Prints the planned peak of memory.
pub fn announce_peak(bytes: u64, device: Device) {
    let on_each =
        if device.count() > 1 { format!(" on each of {} devices", device.count()) } else { String::new() };
    say(format_args!("planned peak memory: {}{on_each}", gigabytes(bytes)));
}

pub fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
