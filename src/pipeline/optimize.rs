//! Networks as the passes leave them.

use super::FluxPipeline;
use crate::Error;
use reflux_ir::Program;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_models::scheduler::Schedule;
use reflux_models::{Net, Sizes};
use reflux_passes::{LOSSLESS, LOSSLESS_CPU, LOSSLESS_VAE, registry};
use reflux_runtime::Device;

/// The passes that run on `net` where nothing is asked for.
pub(crate) fn lossless(net: Net, device: Device) -> Pipeline {
    let passes = match (net, device) {
        (Net::Transformer, Device::Cpu) => LOSSLESS_CPU,
        (Net::Transformer, Device::Cuda) => LOSSLESS,
        (Net::Vae, Device::Cuda) => LOSSLESS_VAE,
        // They run once a picture, and not for long.
        (Net::T5 | Net::Clip | Net::Vae, _) => return Pipeline::default(),
    };
    Pipeline::parse(passes, &registry()).expect("it is written well")
}

impl FluxPipeline {
    /// The program of `net` for these sizes. What passes were asked for run on the transformer: it is what runs at every step.
    pub(super) fn program(&mut self, net: Net, sizes: &Sizes) -> Result<Program, Error> {
        let program = self.config.lower(net, sizes, self.dtype)?;
        if net != Net::Transformer {
            return Ok(Driver::default().run(program, &lossless(net, self.device))?.0);
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
