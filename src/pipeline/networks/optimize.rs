//! Networks after the passes.

use super::{Networks, Optimized, given};
use crate::pipeline::compiled::Compiled;
use crate::{Error, explore};
use reflux_ir::pass::{Driver, Trace};
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
                (Role::Denoiser, None) => match self.compiled.clone() {
                    Some(compiled) => self.compiled_program(&compiled, program, sizes)?,
                    None => self.optimize(program)?,
                },
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
        match (self.compiled_of(net), self.weights.get(net)) {
            (Some(compiled), _) => compiled.read_as_stored(&mut program),
            (None, Some(weights)) => weights.read_as_stored(&mut program),
            (None, None) => {}
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
        let mut trace = self.dump_dir.is_some().then(|| Trace::of(program.clone()));
        let (program, report) =
            Driver { trace: trace.as_mut(), ..self.driver() }.run(program, &self.passes)?;
        if let (Some(folder), Some(trace)) = (&self.dump_dir, &trace) {
            explore::write_beside_dumps(folder, &self.passes, trace, &report)?;
        }
        self.pass_reports = report.passes;
        Ok(program)
    }

    fn driver(&self) -> Driver<'_> {
        Driver {
            timesteps: self.timesteps.as_deref(),
            dump_dir: self.dump_dir.as_deref(),
            ..Driver::default()
        }
    }

    /// The program that is compiled for `lowered`, or what the same passes make of it.
    fn compiled_program(
        &mut self,
        compiled: &Compiled,
        lowered: Program,
        sizes: &Sizes,
    ) -> Result<Program, Error> {
        match compiled.program(sizes, self.timesteps.as_deref())? {
            Some(program) => {
                given::check(&program, &lowered, sizes, &self.family().geometry)?;
                (self.pass_reports, self.other_sizes) = (Vec::new(), None);
                Ok(program)
            }
            None => {
                let (program, report) = compiled.optimize(lowered, self.driver())?;
                self.pass_reports = report.passes;
                self.other_sizes = Some(compiled.other_sizes(sizes));
                Ok(program)
            }
        }
    }
}
