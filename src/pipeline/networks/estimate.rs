//! Estimated memory of a request's networks, before any of them is loaded.

use super::{Networks, Optimized};
use crate::Error;
use crate::pipeline::memory::{Memory, Peak, check_fits, smaller};
use reflux_ir::Advice;
use reflux_models::{Net, Role, Sizes};

impl Networks {
    /// The peak of device memory, in bytes, of the networks at these sizes if none is loaded yet. On the processor it is a lower
    /// bound.
    ///
    /// # Errors
    /// If the passes on a network of its size fail.
    pub fn peak(&mut self, sizes_of: impl Fn(&Net) -> Sizes) -> Result<u64, Error> {
        let mut text = Peak::default();
        let mut picture = Peak::default();
        for &net in self.family().nets {
            let Optimized { needed, working, .. } = *self.optimized(net, &sizes_of(net))?;
            let peak = if net.role == Role::TextEncoder { &mut text } else { &mut picture };
            peak.add(needed, working, self.device);
        }
        Ok(match self.memory {
            Memory::Resident => text.and(picture).bytes(),
            Memory::Low => text.bytes().max(picture.bytes()),
        })
    }

    /// Refuses a request that cannot fit, before any work is done.
    ///
    /// # Errors
    /// [`Error::Memory`], and as [`Networks::peak`].
    pub fn check_memory(&mut self, sizes_of: impl Fn(&Net) -> Sizes) -> Result<(), Error> {
        let device = self.device;
        let mut advice = smaller(self.dtype);
        advice.extend((self.memory == Memory::Resident).then_some(Advice::LowMemory));
        for &net in self.family().nets {
            let sizes = sizes_of(net);
            // Loaded networks have their memory already.
            if self.loaded.get(net).is_some_and(|(loaded, _)| *loaded == sizes) {
                continue;
            }
            let Optimized { program, needed, .. } = self.optimized(net, &sizes)?;
            check_fits(&program.name, *needed, device, &advice)?;
        }
        if !self.loaded.is_empty() {
            return Ok(());
        }
        check_fits("all networks", self.peak(sizes_of)?, device, &advice)
    }
}
