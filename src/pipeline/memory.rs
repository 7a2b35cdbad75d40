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
        let needs = needs(program, device);
        match self {
            Self::Resident => needs.resident(),
            Self::Low => needs.streaming(),
        }
    }
}

/// Refuses what needs more than the `free` bytes of `device`.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check_fits(what: &str, needed: u64, device: Device, free: u64) -> Result<(), Error> {
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory { network: what.to_owned(), needed, free, device })
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
        let mut needed = |net| Ok::<u64, Error>(self.optimized(net, &request.sizes_of(net))?.needed);
        let [clip, t5, transformer, vae] = Net::ALL.map(&mut needed);
        let (text, picture) = (clip?.saturating_add(t5?), transformer?.saturating_add(vae?));
        Ok(match self.memory {
            Memory::Resident => text.saturating_add(picture),
            Memory::Low => text.max(picture),
        })
    }

    /// Refuses what cannot fit before any work is done.
    pub(super) fn check_memory(&mut self, request: &Resolved) -> Result<(), Error> {
        let (device, Some(free)) = (self.device, self.device.free_memory()) else { return Ok(()) };
        for net in Net::ALL {
            let sizes = request.sizes_of(net);
            // What is loaded has its memory already.
            if self.loaded.get(&net).is_some_and(|(loaded, _)| *loaded == sizes) {
                continue;
            }
            let Optimized { program, needed, .. } = self.optimized(net, &sizes)?;
            check_fits(&program.name, *needed, device, free)?;
        }
        if device != Device::Cuda || !self.loaded.is_empty() {
            return Ok(());
        }
        check_fits("all networks", self.peak_of(request)?, device, free)
    }
}
