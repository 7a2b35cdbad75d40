//! Measured memory of a run.

use crate::Device;
use crate::backend::Meter;

/// The most memory of a device that was taken whenever it was looked at.
pub struct MemoryMeter {
    meter: Box<dyn Meter>,
    /// In bytes.
    peak: Option<u64>,
}

impl MemoryMeter {
    /// Starts, before anything is loaded onto `device`.
    pub fn start(device: Device) -> Self {
        Self { meter: device.backend().meter(), peak: None }
    }

    /// Looks at how much is taken now.
    pub fn look(&mut self) {
        let taken = self.meter.taken();
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
