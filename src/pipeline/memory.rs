//! Which networks stay on the device, and whether they fit.

use crate::Error;
use reflux_ir::{Advice, DType, Program};
use reflux_runtime::{Device, needs};
use serde::Serialize;

/// Which networks stay on the device between uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// All networks: the next picture starts at once.
    #[default]
    Resident,
    /// The transformer's steps and the decoder. Text encoders are freed after encoding, weights of prepare stages after those have
    /// run; all are read again for the next prompts.
    Low,
}

impl Memory {
    /// The peak, in bytes, that `program` takes on `device`.
    pub(crate) fn of(self, program: &Program, device: Device) -> u64 {
        self.with_working(program, device).0
    }

    /// The same, and how much of it is needed only while the program runs.
    pub(super) fn with_working(self, program: &Program, device: Device) -> (u64, u64) {
        let needs = needs(program, device);
        match self {
            Self::Resident => (needs.resident(), needs.step.max(needs.prepare)),
            Self::Low => (needs.streaming(), needs.step.max(needs.streamed)),
        }
    }
}

/// Refuses to use more memory than `device` has free; `advice` says how to use less.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check_fits(what: &str, needed: u64, device: Device, advice: &[Advice]) -> Result<(), Error> {
    match device.free_memory() {
        Some(free) if free.bytes < needed => {
            let (network, advice) = (what.to_owned(), advice.to_vec());
            Err(Error::Memory { network, needed, free, device, advice })
        }
        _ => Ok(()),
    }
}

/// Ways to use less memory for pictures in `dtype`, besides those of [`Memory`].
pub(crate) fn smaller(dtype: DType) -> Vec<Advice> {
    let fewer_bits =
        if dtype.bits() > 16 { Advice::Dtype(&[DType::BF16]) } else { Advice::Quantize("quantize(int8dq)") };
    vec![Advice::SmallerPicture, fewer_bits]
}

/// The memory of several networks together.
#[derive(Clone, Copy, Default)]
pub(super) struct Peak {
    /// Bytes that stay.
    kept: u64,
    /// Bytes that a network needs in addition while it runs, of the one that needs the most.
    working: u64,
}

impl Peak {
    /// Adds a network of `needed` bytes, of which `working` are needed only while it runs.
    pub fn add(&mut self, needed: u64, working: u64, device: Device) {
        // Each network keeps its planned memory.
        let working = if device.plans_memory() { 0 } else { working };
        self.kept = self.kept.saturating_add(needed.saturating_sub(working));
        self.working = self.working.max(working);
    }

    /// Adds the networks of `other`.
    pub fn and(self, other: Self) -> Self {
        Self { kept: self.kept.saturating_add(other.kept), working: self.working.max(other.working) }
    }

    pub fn bytes(self) -> u64 {
        self.kept.saturating_add(self.working)
    }
}
