//! Estimated memory of a request's networks, before any of them is loaded.

use super::{Networks, Optimized};
use crate::Error;
use crate::pipeline::memory::{Memory, Peak, check_fits, smaller};
use reflux_ir::Advice;
use reflux_models::{Net, Role, Sizes};

/// Whether `net` has done its work before the first step.
pub(super) fn is_before_steps(net: &Net) -> bool {
    matches!(net.role, Role::TextEncoder | Role::Encoder)
}

impl Networks {
    /// The peak of device memory, in bytes, of the networks at these sizes if none is loaded yet. On the processor it is a lower
    /// bound.
    ///
    /// # Errors
    /// If the passes on a network of its size fail.
    pub fn peak(&mut self, needed: impl Fn(&Net) -> Option<Sizes>) -> Result<u64, Error> {
        let mut before = Peak::default();
        let mut picture = Peak::default();
        for (net, sizes) in self.needed(needed) {
            let Optimized { needed, working, .. } = *self.optimized(net, &sizes)?;
            let peak = if is_before_steps(net) { &mut before } else { &mut picture };
            peak.add(needed, working, self.device);
        }
        Ok(match self.memory {
            Memory::Resident => before.and(picture).bytes(),
            Memory::Low => before.bytes().max(picture.bytes()),
        })
    }

    /// The networks that are needed, and the sizes.
    fn needed(&self, needed: impl Fn(&Net) -> Option<Sizes>) -> Vec<(&'static Net, Sizes)> {
        self.family().all_nets().filter_map(|net| Some((net, needed(net)?))).collect()
    }

    /// Refuses a request that cannot fit, or is for other devices, before any work is done.
    ///
    /// # Errors
    /// [`Error::Memory`], and as [`Networks::peak`] and [`Device::running`](reflux_runtime::Device::running).
    pub fn check_memory(&mut self, needed: impl Fn(&Net) -> Option<Sizes>) -> Result<(), Error> {
        let device = self.device;
        // All passes run before the device is asked for its memory, since it may still be starting.
        let peak = if self.loaded.is_empty() { Some(self.peak(&needed)?) } else { None };
        let mut advice = smaller(self.dtype);
        advice.extend((self.memory == Memory::Resident).then_some(Advice::LowMemory));
        for (net, sizes) in self.needed(&needed) {
            // Loaded networks have their memory already.
            if self.loaded.get(net).is_some_and(|(loaded, _)| *loaded == sizes) {
                continue;
            }
            let Optimized { program, needed, .. } = self.optimized(net, &sizes)?;
            // Else it would be found when it is loaded, after networks before it have run.
            device.running(program)?;
            check_fits(&program.name, *needed, device, &advice)?;
        }
        peak.map_or(Ok(()), |peak| check_fits("all networks", peak, device, &advice))
    }
}
