//! Networks as the passes leave them.

use super::FluxPipeline;
use crate::Error;
use reflux_ir::Program;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_models::scheduler::Schedule;
use reflux_models::{Net, Sizes};
use reflux_passes::{LOSSLESS, LOSSLESS_CPU, registry};
use reflux_runtime::Device;

/// The passes that run where nothing is asked for.
pub(crate) fn lossless(device: Device) -> Pipeline {
    let passes = match device {
        Device::Cpu => LOSSLESS_CPU,
        Device::Cuda => LOSSLESS,
    };
    Pipeline::parse(passes, &registry()).expect("it is written well")
}

impl FluxPipeline {
    /// The program of `net` for these sizes. Passes run on the transformer alone: it is what runs at every step.
    pub(super) fn program(&mut self, net: Net, sizes: &Sizes) -> Result<Program, Error> {
        let program = self.config.lower(net, sizes, self.dtype)?;
        if net != Net::Transformer {
            return Ok(program);
        }
        if let Some((_, program)) = self.optimized.as_ref().filter(|(known, _)| known == sizes) {
            return Ok(program.clone());
        }
        // Sizes that the scheduler refuses are refused where the steps begin, after memory is checked.
        let schedule = Schedule::new(&self.config.scheduler, sizes.steps, sizes.image_tokens()).ok();
        let mut driver = Driver {
            timesteps: schedule.as_ref().map(|schedule| &schedule.timesteps[..]),
            dump_dir: self.dump_dir.as_deref(),
            ..Driver::default()
        };
        let (program, report) = driver.run(program, &self.passes)?;
        self.pass_reports = report.passes;
        self.optimized = Some((*sizes, program.clone()));
        Ok(program)
    }
}
