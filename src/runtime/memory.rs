//! How much memory running takes, measured.

use crate::Device;
use crate::device::cuda;
use cudarc::driver::CudaContext;
use std::sync::Arc;

/// The most memory of a device that was taken whenever it was looked at.
pub struct MemoryMeter {
    kind: Kind,
    /// In bytes.
    peak: Option<u64>,
}

enum Kind {
    /// The system keeps the count.
    Process,
    Gpu {
        /// Bytes that were free at the start, the context there already.
        free: Option<u64>,
        /// Keeps the context from being made anew by whoever needs it next.
        _context: Option<Arc<CudaContext>>,
    },
}

impl MemoryMeter {
    /// Starts, before anything is loaded onto `device`.
    pub fn start(device: Device) -> Self {
        let kind = match device {
            Device::Cpu => Kind::Process,
            Device::Cuda => Kind::Gpu { _context: cuda::context(), free: cuda::free_memory() },
        };
        Self { kind, peak: None }
    }

    /// Looks at how much is taken now.
    pub fn look(&mut self) {
        let taken = match &self.kind {
            Kind::Process => peak_resident(),
            Kind::Gpu { free, .. } => {
                free.zip(cuda::free_memory()).map(|(then, now)| then.saturating_sub(now))
            }
        };
        tracing::trace!("memory taken: {taken:?}");
        self.peak = self.peak.max(taken);
    }

    /// The most bytes that were taken, where that can be known.
    ///
    /// Of a GPU: of what was free at the start, by whoever took it; backends keep what they took inside a step, so that a
    /// look after it sees that too. Of the processor: the largest resident set of this process, mapped files included, since
    /// it was started; Linux alone tells.
    pub fn peak(&self) -> Option<u64> {
        self.peak
    }
}

/// The `VmHWM` that Linux keeps of a process, in bytes.
fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_processor_counts_what_was_touched() {
        let mut meter = MemoryMeter::start(Device::Cpu);
        assert_eq!(meter.peak(), None);
        meter.look();
        let before = meter.peak().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 256 << 20]);
        meter.look();
        assert!(meter.peak().unwrap() >= before.max(touched.len() as u64));
    }
}
