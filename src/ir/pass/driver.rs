//! The driver: the one way to run passes.

use super::dump::{DumpFormat, Dumps, reproducer};
use super::{
    Allowance, Changed, Estimate, OrderError, Pass, PassContext, PassError, PassReport, Pipeline,
    PipelineReport, Property, Trace, TracedPass,
};
use crate::{Machine, Program, VerifyError, verify, words};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Runs pipelines: refuses badly ordered ones, verifies after every pass, checks that each pass did what it declares,
/// measures, dumps.
#[derive(Default)]
pub struct Driver<'a> {
    /// The time of each step in 0…1000, where known.
    pub timesteps: Option<&'a [f32]>,
    /// Where to write the program before the first pass and after each that changed it, as `NNN_pass.ir`.
    pub dump_dir: Option<&'a Path>,
    /// The formats of these files; IR text if empty.
    pub dump_formats: &'a [DumpFormat],
    /// The machine for the estimated times in reports and dumps, if any.
    pub machine: Option<&'static Machine>,
    /// Where to print the program before a pass.
    pub print_before: DumpPoints,
    /// Where to print the program after a pass.
    pub print_after: DumpPoints,
    /// Receives what is printed; without it nothing is printed.
    pub print: Option<&'a mut dyn FnMut(&str)>,
    /// Run only the first this many passes.
    pub stop_after: Option<usize>,
    /// Whether passes give proofs of their results.
    pub explain: bool,
    /// A limit on the applications of a rule in the last pass.
    pub allowance: Allowance,
    /// Where to keep the program after each pass, and what its rules did.
    pub trace: Option<&'a mut Trace>,
}

/// Passes before or after which to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DumpPoints {
    #[default]
    None,
    All,
    /// At these passes.
    Of(Vec<String>),
}

impl DumpPoints {
    fn has(&self, pass: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Of(names) => names.iter().any(|name| name == pass),
        }
    }
}

/// Why a pipeline did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("the passes cannot run in this order: {0}")]
    Order(#[from] Box<OrderError>),
    /// The options or the input program do not allow it.
    #[error("pass `{pass}`: {why}")]
    Refused { pass: String, why: String },
    /// A bug of the pass, which is called `name`. The reproducer is a program that fails again.
    #[error("pass `{pass}` {failure}{}", reproduce(.reproducer))]
    Broken { name: &'static str, pass: String, failure: Box<Failure>, reproducer: Option<PathBuf> },
    #[error("the input program does not verify: {0}")]
    Input(VerifyError),
    #[error("cannot write dumps: {}", words::of_io(.0))]
    Dump(std::io::Error),
}

/// What is wrong with a pass.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("failed: {0}")]
    Error(PassError),
    #[error("panicked: {0}")]
    Panic(String),
    #[error("left a program that does not verify: {0}")]
    Invalid(VerifyError),
    #[error("reported that it changed {said}, but it changed {did}")]
    Lied { said: &'static str, did: &'static str },
    #[error("made it untrue {0}, without declaring this")]
    Ended(Property),
    #[error("declares that after it, it holds {0}, but this is not so")]
    NotBrought(Property),
}

fn reproduce(path: &Option<PathBuf>) -> String {
    let path = path.as_ref().map(|path| path.display().to_string());
    path.map(|path| format!("\nto reproduce it: reflux opt {path}")).unwrap_or_default()
}

impl Driver<'_> {
    /// Runs `pipeline` on `program`.
    pub fn run(
        &mut self,
        mut program: Program,
        pipeline: &Pipeline,
    ) -> Result<(Program, PipelineReport), DriverError> {
        verify(&program).map_err(DriverError::Input)?;
        pipeline.check_order(&program)?;
        let mut report = PipelineReport::default();
        let mut dumps = match self.dump_dir {
            Some(folder) => {
                let dumps = Dumps::start(folder, self.dump_formats, self.machine, &program);
                Some(dumps.map_err(DriverError::Dump)?)
            }
            None => None,
        };
        let limit = self.stop_after.unwrap_or(usize::MAX);
        let properties = pipeline.properties();
        for (index, pass) in pipeline.passes().enumerate().take(limit) {
            self.print(self.print_before.has(pass.name()), "before", &pipeline.text_of(index), &program);
            let mut done = pipeline.report_of(index);
            let allowance = if index + 1 == limit { self.allowance.clone() } else { Allowance::default() };
            program = self.run_pass(pass, program, &properties, allowance, &mut done)?;
            if let Some(trace) = &mut self.trace {
                let edits = program.take_edits();
                trace.passes.push(TracedPass { program: program.clone(), edits });
            }
            self.print(self.print_after.has(pass.name()), "after", &done.pass, &program);
            if let Some(dumps) = dumps.as_mut().filter(|_| done.changed) {
                let written =
                    dumps.write(index + 1, pass.name(), &done.pass, &done.timeless().to_string(), &program);
                written.map_err(DriverError::Dump)?;
            }
            report.passes.push(done);
        }
        Ok((program, report))
    }

    fn run_pass(
        &self,
        pass: &dyn Pass,
        before: Program,
        properties: &[Property],
        allowance: Allowance,
        report: &mut PassReport,
    ) -> Result<Program, DriverError> {
        report.ops_before = before.op_count();
        let mut program = before.clone();
        if self.trace.is_some() {
            program.log_edits();
        }
        let mut start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if self.explain {
                report.explanations = pass.explain(&before)?;
                start = Instant::now();
            }
            let mut cx = PassContext { timesteps: self.timesteps, report: &mut *report, allowance };
            pass.run(&mut program, &mut cx)
        }));
        report.seconds = start.elapsed().as_secs_f64();
        let failure = match outcome {
            Ok(Err(refused @ (PassError::Refused(_) | PassError::Nothing(_)))) => {
                return Err(DriverError::Refused { pass: report.pass.clone(), why: refused.to_string() });
            }
            Ok(Err(error)) => Some(Failure::Error(error)),
            Err(panic) => Some(Failure::Panic(words::of_panic(panic.as_ref()).to_owned())),
            Ok(Ok(changed)) => {
                program.update_rates();
                check(pass, &before, &program, properties, changed).err()
            }
        };
        if let Some(failure) = failure {
            let written = reproducer(self.dump_dir, &before, &report.pass, &failure.to_string());
            let pass = report.pass.clone();
            let (name, failure) = (report.name, Box::new(failure));
            return Err(DriverError::Broken { name, pass, failure, reproducer: written.ok() });
        }
        report.changed = before.structural_hash() != program.structural_hash();
        report.ops_after = program.op_count();
        report.estimate = self.machine.map(|machine| {
            let is_most = before.has_choices() || program.has_choices();
            let [before, after] = [&before, &program].map(|program| machine.of_schedule(program));
            Estimate { machine: machine.name, before, after, is_most }
        });
        Ok(program)
    }

    fn print(&mut self, wanted: bool, when: &str, pass: &str, program: &Program) {
        if let Some(print) = self.print.as_mut().filter(|_| wanted) {
            print(&format!("// {when} {pass}\n{program}"));
        }
    }
}

/// Checks that `pass` did what it declares.
fn check(
    pass: &dyn Pass,
    before: &Program,
    after: &Program,
    properties: &[Property],
    changed: Changed,
) -> Result<(), Failure> {
    verify(after).map_err(Failure::Invalid)?;
    let did = Changed::from(before.structural_hash() != after.structural_hash());
    if did != changed {
        let word = |changed| if changed == Changed::Yes { "something" } else { "nothing" };
        return Err(Failure::Lied { said: word(changed), did: word(did) });
    }
    let is_ended = |property: &&Property| {
        !pass.ends().contains(property) && (property.holds)(before) && !(property.holds)(after)
    };
    if let Some(property) = properties.iter().find(is_ended) {
        return Err(Failure::Ended(*property));
    }
    match pass.brings().iter().find(|property| !(property.holds)(after)) {
        None => Ok(()),
        Some(property) => Err(Failure::NotBrought(*property)),
    }
}
