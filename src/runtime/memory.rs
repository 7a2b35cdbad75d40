//! Measured memory of a run.

use crate::Device;
use crate::backend::Meter;

/// The peak of a device's memory over all measurements.
pub struct MemoryMeter {
    meter: Box<dyn Meter>,
    /// In bytes.
    peak: Option<u64>,
}

impl MemoryMeter {
    /// Starts, which may take a while after this returns; see [`begin`](Self::begin).
    pub fn start(device: Device) -> Self {
        Self { meter: device.backend().meter(device.ordinal()), peak: None }
    }

    /// Waits until it has started, before anything is loaded onto the device. Later, it does nothing.
    pub fn begin(&mut self) {
        if self.peak.is_none() {
            self.look();
        }
    }

    /// Measures how much is in use now.
    pub fn look(&mut self) {
        let taken = self.meter.taken();
        tracing::trace!("memory taken: {taken:?}");
        self.peak = self.peak.max(taken);
    }

    /// The most bytes in use, if that is known.
    ///
    /// On a GPU: the decrease of free memory since the start, by any process; backends keep what they allocate inside a step, so
    /// this includes memory freed during a step. On the CPU: the largest resident set of this process since its start, mapped
    /// files included; known on Linux only.
    pub fn peak(&self) -> Option<u64> {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_processor_counts_what_was_touched() {
        let mut meter = MemoryMeter::start(Device::host());
        assert_eq!(meter.peak(), None);
        meter.look();
        let before = meter.peak().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 256 << 20]);
        meter.look();
        assert!(meter.peak().unwrap() >= before.max(touched.len() as u64));
    }
}
