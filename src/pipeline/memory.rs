//! What stays on the device, and whether it fits.

use super::FluxPipeline;
use super::optimize::Optimized;
use super::request::{Request, Resolved};
use crate::Error;
use reflux_ir::Program;
use reflux_models::Net;
use reflux_runtime::{Device, needs};
use serde::Serialize;

/// What stays on the device between its uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// All networks: the next picture starts at once.
    #[default]
    Resident,
    /// The transformer's steps and the decoder. Text encoders leave when prompts are encoded, weights that only prepare steps
    /// when they have; all are read again for the next prompts.
    Low,
}

impl Memory {
    /// The most bytes at once that `program` takes on `device`.
    pub(crate) fn of(self, program: &Program, device: Device) -> u64 {
        self.with_working(program, device).0
    }

    /// The same, and how much of it is taken only while the program runs.
    pub(super) fn with_working(self, program: &Program, device: Device) -> (u64, u64) {
        let needs = needs(program, device);
        match self {
            Self::Resident => (needs.resident(), needs.step.max(needs.prepare)),
            Self::Low => (needs.streaming(), needs.step.max(needs.streamed)),
        }
    }
}

/// Refuses what needs more memory than `device` has free.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check_fits(what: &str, needed: u64, device: Device) -> Result<(), Error> {
    match device.free_memory() {
        Some(free) if free.bytes < needed => {
            Err(Error::Memory { network: what.to_owned(), needed, free, device })
        }
        _ => Ok(()),
    }
}

/// What several networks take at once.
#[derive(Clone, Copy, Default)]
struct Peak {
    /// Bytes that stay.
    kept: u64,
    /// Bytes that the network takes besides which is running, of the one that takes the most.
    working: u64,
}

impl Peak {
    /// With a network of `needed` bytes, of which `working` are taken only while it runs.
    fn add(&mut self, needed: u64, working: u64, device: Device) {
        // What is planned is kept, by each network.
        let working = if device.plans_memory() { 0 } else { working };
        self.kept = self.kept.saturating_add(needed.saturating_sub(working));
        self.working = self.working.max(working);
    }

    /// With the networks of `other`.
    fn and(self, other: Self) -> Self {
        Self { kept: self.kept.saturating_add(other.kept), working: self.working.max(other.working) }
    }

    fn bytes(self) -> u64 {
        self.kept.saturating_add(self.working)
    }
}

impl FluxPipeline {
    /// The most device memory, in bytes, that making the pictures of `request` takes with networks that are not loaded yet. On
    /// the processor it is a lower bound.
    ///
    /// # Errors
    /// If the request, or the passes on a network of its size, fail.
    pub fn planned_peak(&mut self, request: &Request) -> Result<u64, Error> {
        let request = request.resolve(&self.defaults, &self.config)?;
        self.peak_of(&request)
    }

    fn peak_of(&mut self, request: &Resolved) -> Result<u64, Error> {
        let mut text = Peak::default();
        let mut picture = Peak::default();
        for net in Net::ALL {
            let Optimized { needed, working, .. } = *self.optimized(net, &request.sizes_of(net))?;
            let peak = if net.is_of_text() { &mut text } else { &mut picture };
            peak.add(needed, working, self.device);
        }
        Ok(match self.memory {
            Memory::Resident => text.and(picture).bytes(),
            Memory::Low => text.bytes().max(picture.bytes()),
        })
    }

    /// Refuses what cannot fit before any work is done.
    pub(super) fn check_memory(&mut self, request: &Resolved) -> Result<(), Error> {
        let device = self.device;
        for net in Net::ALL {
            let sizes = request.sizes_of(net);
            // What is loaded has its memory already.
            if self.loaded.get(&net).is_some_and(|(loaded, _)| *loaded == sizes) {
                continue;
            }
            let Optimized { program, needed, .. } = self.optimized(net, &sizes)?;
            check_fits(&program.name, *needed, device)?;
        }
        if !self.loaded.is_empty() {
            return Ok(());
        }
        check_fits("all networks", self.peak_of(request)?, device)
    }
}
