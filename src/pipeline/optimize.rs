//! Networks as the passes leave them.

use super::{FluxPipeline, given};
use crate::Error;
use reflux_ir::Program;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_models::scheduler::Schedule;
use reflux_models::{Net, Sizes};
use reflux_passes::{LOSSLESS, LOSSLESS_ONCE, LOSSLESS_PACKED, registry};
use reflux_runtime::{Device, DeviceInfo, MachineOf};

/// The default passes of `net`: those that run where nothing is asked for, and around what is. Without a device, those that are
/// good for most.
pub(crate) fn lossless(net: Net, device: Option<Device>) -> Pipeline {
    let passes = match net {
        Net::Transformer if device.is_some_and(Device::reads_panels) => LOSSLESS_PACKED,
        Net::Transformer => LOSSLESS,
        _ if device.is_none_or(Device::optimizes_once) => LOSSLESS_ONCE,
        _ => "",
    };
    Pipeline::parse(passes, &registry()).expect("it is written well")
}

/// Has `pipeline` decide by the machine of `device`: with what to say of that, if it matters.
pub(crate) fn settle(pipeline: &mut Pipeline, device: Device, info: &DeviceInfo) -> Option<String> {
    let MachineOf { machine, warning, .. } = device.machine(info);
    let decides = pipeline.settle(machine);
    warning.filter(|_| decides)
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
                _ => Driver::default().run(program, &self.passes_once)?.0,
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
