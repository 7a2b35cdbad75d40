//! Networks after the passes.

use super::{Networks, Optimized, given};
use crate::Error;
use reflux_ir::pass::Driver;
use reflux_ir::{Declaration, Program};
use reflux_models::{Net, Role, Sizes};

impl Networks {
    /// `net` for these sizes. The requested passes run on the denoiser, which runs at every step.
    pub(super) fn optimized(&mut self, net: &'static Net, sizes: &Sizes) -> Result<&Optimized, Error> {
        if self.optimized.get(net).is_none_or(|known| known.sizes != *sizes) {
            let mut program = self.lower(net, sizes)?;
            let program = match (net.role, &self.program) {
                (Role::Denoiser, Some(given)) => {
                    // It may be one with branches of LoRAs.
                    let of_loras = |input: &&Declaration| self.loras.is_strength(&input.name);
                    program.inputs.extend(given.inputs.iter().filter(of_loras).cloned());
                    given::check(given, &program, sizes, &self.family().geometry)?;
                    let given = Program::clone(given);
                    self.optimize(given)?
                }
                (Role::Denoiser, None) => self.optimize(program)?,
                _ => {
                    let passes = self.loras.with_merging(net, &self.passes_once);
                    Driver::default().run(program, &passes)?.0
                }
            };
            self.insert(net, *sizes, program);
        }
        Ok(&self.optimized[net])
    }

    /// The program of `net` after the passes.
    pub fn program(&mut self, net: &'static Net, sizes: &Sizes) -> Result<&Program, Error> {
        self.optimized(net, sizes).map(|optimized| &optimized.program)
    }

    /// The program of `net` before any passes, which reads weights as the files store them.
    pub fn lower(&self, net: &'static Net, sizes: &Sizes) -> Result<Program, Error> {
        let mut program = self.config.lower(net, sizes, self.dtype)?;
        if let Some(weights) = self.weights.get(net) {
            weights.read_as_stored(&mut program);
        }
        Ok(program)
    }

    /// Uses `program` for `net` at these sizes, instead of the result of the passes.
    pub fn replace(&mut self, net: &'static Net, sizes: Sizes, program: Program) {
        self.insert(net, sizes, program);
        self.loaded.remove(net);
    }

    fn insert(&mut self, net: &'static Net, sizes: Sizes, program: Program) {
        let (needed, working) = self.memory.with_working(&program, self.device);
        self.optimized.insert(net, Optimized { sizes, program, needed, working });
    }

    fn optimize(&mut self, program: Program) -> Result<Program, Error> {
        let mut driver = Driver {
            timesteps: self.timesteps.as_deref(),
            dump_dir: self.dump_dir.as_deref(),
            ..Driver::default()
        };
        let (program, report) = driver.run(program, &self.passes)?;
        self.pass_reports = report.passes;
        Ok(program)
    }
}
