//! Networks as the passes leave them.

use super::{Networks, given};
use crate::Error;
use reflux_ir::Program;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_models::{Net, Role, Sizes};
use reflux_passes::{LOSSLESS, LOSSLESS_CPU, LOSSLESS_ONCE, registry};
use reflux_runtime::Device;

/// The default passes of a network: those that run where nothing is asked for, and around what is.
pub(crate) fn lossless(role: Role, device: Device) -> Pipeline {
    let passes = match (role, device) {
        (Role::Denoiser, Device::Cpu) => LOSSLESS_CPU,
        (Role::Denoiser, Device::Cuda) => LOSSLESS,
        (_, Device::Cuda) => LOSSLESS_ONCE,
        // They run once a picture, and not for long.
        (_, Device::Cpu) => return Pipeline::default(),
    };
    Pipeline::parse(passes, &registry()).expect("it is written well")
}

/// A network's program as the passes made it.
pub(super) struct Optimized {
    pub(super) sizes: Sizes,
    pub program: Program,
    /// The most memory of the device that it takes at once, in bytes; on the processor a lower bound.
    pub needed: u64,
    /// How much of that it takes only while it runs.
    pub working: u64,
}

impl Networks {
    /// `net` for these sizes. What passes were asked for run on the denoiser: it is what runs at every step.
    pub(super) fn optimized(&mut self, net: &'static Net, sizes: &Sizes) -> Result<&Optimized, Error> {
        if self.optimized.get(net).is_none_or(|known| known.sizes != *sizes) {
            let program = self.lower(net, sizes)?;
            let program = match (net.role, &self.program) {
                (Role::Denoiser, Some(given)) => {
                    given::check(given, &program, sizes, &self.family().geometry)?;
                    let given = Program::clone(given);
                    self.optimize(given, sizes)?
                }
                (Role::Denoiser, None) => self.optimize(program, sizes)?,
                (role, _) => Driver::default().run(program, &lossless(role, self.device))?.0,
            };
            self.insert(net, *sizes, program);
        }
        Ok(&self.optimized[net])
    }

    /// `net` as it is lowered.
    pub fn lower(&self, net: &'static Net, sizes: &Sizes) -> Result<Program, Error> {
        Ok(self.config.lower(net, sizes, self.dtype)?)
    }

    /// Has `program` be what `net` is at these sizes, instead of what the passes make of it.
    pub fn replace(&mut self, net: &'static Net, sizes: Sizes, program: Program) {
        self.insert(net, sizes, program);
        self.loaded.remove(net);
    }

    fn insert(&mut self, net: &'static Net, sizes: Sizes, program: Program) {
        let (needed, working) = self.memory.with_working(&program, self.device);
        self.optimized.insert(net, Optimized { sizes, program, needed, working });
    }

    fn optimize(&mut self, program: Program, sizes: &Sizes) -> Result<Program, Error> {
        // Sizes that the scheduler refuses are refused where the steps begin, after memory is checked.
        let schedule = self.config.schedule(sizes.steps, self.family().geometry.image_tokens(sizes)).ok();
        let mut driver = Driver {
            timesteps: schedule.as_ref().map(|schedule| &schedule.timesteps[..]),
            dump_dir: self.dump_dir.as_deref(),
            ..Driver::default()
        };
        let (program, report) = driver.run(program, &self.passes)?;
        self.pass_reports = report.passes;
        Ok(program)
    }
}
