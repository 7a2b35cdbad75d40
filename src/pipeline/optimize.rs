//! Networks as the passes leave them.

use super::{FluxPipeline, given};
use crate::Error;
use reflux_ir::Program;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_models::scheduler::Schedule;
use reflux_models::{Net, Sizes};
use reflux_passes::{LOSSLESS, LOSSLESS_CPU, LOSSLESS_ONCE, registry};
use reflux_runtime::Device;

/// The default passes of `net`: those that run where nothing is asked for, and around what is.
pub(crate) fn lossless(net: Net, device: Device) -> Pipeline {
    let passes = match (net, device) {
        (Net::Transformer, Device::Cpu) => LOSSLESS_CPU,
        (Net::Transformer, Device::Cuda) => LOSSLESS,
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

impl FluxPipeline {
    /// `net` for these sizes. What passes were asked for run on the transformer: it is what runs at every step.
    pub(super) fn optimized(&mut self, net: Net, sizes: &Sizes) -> Result<&Optimized, Error> {
        if self.optimized.get(&net).is_none_or(|known| known.sizes != *sizes) {
            let program = self.config.lower(net, sizes, self.dtype)?;
            let program = match (net, &self.program) {
                (Net::Transformer, Some(given)) => {
                    given::check(given, &program, sizes)?;
                    let given = Program::clone(given);
                    self.optimize(given, sizes)?
                }
                (Net::Transformer, None) => self.optimize(program, sizes)?,
                _ => Driver::default().run(program, &lossless(net, self.device))?.0,
            };
            let (needed, working) = self.memory.with_working(&program, self.device);
            self.optimized.insert(net, Optimized { sizes: *sizes, program, needed, working });
        }
        Ok(&self.optimized[&net])
    }

    fn optimize(&mut self, program: Program, sizes: &Sizes) -> Result<Program, Error> {
        // Sizes that the scheduler refuses are refused where the steps begin, after memory is checked.
        let schedule = Schedule::new(&self.config.scheduler, sizes.steps, sizes.image_tokens()).ok();
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
