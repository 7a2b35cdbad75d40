//! Runs of many inputs, one after the other.

use crate::check::{self, Failure, Outcome, quietly};
use crate::pipelines::Passes;
use crate::{generate, mutate, shrink};
use cpu_time::ThreadTime;
use fastrand::Rng;
use reflux_ir::pass::Exactness;
use reflux_ir::{Program, verify};
use std::collections::BTreeMap;
use std::time::Duration;

/// What else must hold of a program and of what passes, which are as exact as that, have made of it.
pub type Compare<'c> = &'c dyn Fn(&Program, &Program, Exactness) -> Result<(), Failure>;

/// Which inputs to make, and what to do with them.
pub struct Run<'c> {
    pub passes: Passes,
    pub seed: u64,
    /// An input that takes longer is a failure. Times are the processor's, so that what else runs does not count.
    pub longest: Option<Duration>,
    pub compare: Option<Compare<'c>>,
}

/// What an input was.
enum Input {
    Text(String),
    Case { program: Box<Program>, pipeline: String, times: bool },
}

/// What became of the inputs.
#[derive(Debug, Default)]
pub struct Tally {
    pub inputs: u64,
    /// Texts that were mutated, and those of them that still are programs that verify.
    pub texts: u64,
    pub texts_that_verify: u64,
    /// Pipelines that ran to their end, and that were refused.
    pub ran: u64,
    pub refused: u64,
    /// Damaged files that could be used all the same, and that were refused, by kind.
    pub files: BTreeMap<&'static str, (u64, u64)>,
    /// The number of the slowest input, and how long it took.
    pub slowest: (u64, Duration),
    pub failures: Vec<Found>,
}

/// A failure, and how to see it again.
#[derive(Debug)]
pub struct Found {
    pub input: u64,
    pub failure: Failure,
    /// Whether it is the first of its kind.
    pub is_new: bool,
}

impl Run<'_> {
    /// Tries input `index` and records the outcome in `tally`.
    pub fn try_input(&self, index: u64, tally: &mut Tally) {
        let start = ThreadTime::now();
        let outcome = self.attempt(index, tally);
        let mut time = start.elapsed();
        if self.longest.is_some_and(|longest| time > longest) {
            // Once more, as a machine that stands still counts too.
            let start = ThreadTime::now();
            let _ = self.attempt(index, &mut Tally::default());
            time = time.min(start.elapsed());
        }
        tally.inputs += 1;
        if time > tally.slowest.1 {
            tally.slowest = (index, time);
        }
        let too_slow = self.longest.is_some_and(|longest| time > longest);
        let slow = || Failure::slowness(time);
        let failure = outcome.err().or_else(|| too_slow.then(slow));
        if let Some(failure) = failure {
            let is_new = tally.failures.iter().all(|known| known.failure.kind != failure.kind);
            tally.failures.push(Found { input: index, failure, is_new });
        }
    }

    fn attempt(&self, index: u64, tally: &mut Tally) -> Result<(), Failure> {
        let (mut rng, input) = self.input(index)?;
        let outcome = match input {
            Input::Case { program, pipeline, times } => self.judge(&program, &pipeline, times)?,
            Input::Text(text) => {
                tally.texts += 1;
                let Some(program) = check::text(&text)? else { return Ok(()) };
                tally.texts_that_verify += 1;
                let pipeline = self.passes.pipeline(&mut rng);
                self.judge_passes(&program, &pipeline, rng.bool())?
            }
        };
        match outcome {
            Outcome::Ran { .. } => tally.ran += 1,
            Outcome::Refused(_) => tally.refused += 1,
        }
        Ok(())
    }

    fn judge(&self, program: &Program, pipeline: &str, times: bool) -> Result<Outcome, Failure> {
        verify(program)
            .map_err(|error| Failure::new(format!("the program made does not verify: {error}")))?;
        check::round_trip(program)?;
        self.judge_passes(program, pipeline, times)
    }

    /// What `pipeline` makes of a program that verifies and survives being printed.
    fn judge_passes(&self, program: &Program, pipeline: &str, times: bool) -> Result<Outcome, Failure> {
        // Another pass of each pipeline, but of one pipeline always the same, so that what fails can be made small.
        let which = pipeline.len();
        let registry = &self.passes.registry;
        let outcome = check::passes(program, pipeline, registry, times, which)?;
        if let (Some(compare), Outcome::Ran { program: after, exactness, .. }) = (self.compare, &outcome) {
            compare(program, after, *exactness)?;
        }
        Ok(outcome)
    }

    /// Input `index`: a text or a program. The generator goes on to say what is done with a text that is a program.
    fn input(&self, index: u64) -> Result<(Rng, Input), Failure> {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index));
        let is_text = rng.usize(0..5) > 0;
        let program = if is_text && rng.usize(0..4) > 0 {
            let programs = mutate::programs();
            programs[rng.usize(..programs.len())].to_owned()
        } else {
            let program = quietly("the generator", || generate::program(&mut rng))?;
            if !is_text {
                let (pipeline, times) = (self.passes.pipeline(&mut rng), rng.bool());
                return Ok((rng, Input::Case { program: program.into(), pipeline, times }));
            }
            program.to_string()
        };
        let text = mutate::mutated(&mut rng, &program);
        Ok((rng, Input::Text(text)))
    }

    /// A small text that fails like `found`, with its pipeline as a comment. Finding it can take as long as very many inputs.
    pub fn reproducer(&self, found: &Found) -> String {
        let Found { input: index, failure, .. } = found;
        let Ok((mut rng, input)) = self.input(*index) else { return String::new() };
        let is_alike = |found: Result<Outcome, Failure>, start: ThreadTime| match found {
            Err(other) => other.kind == failure.kind,
            Ok(_) => failure.is_slowness && self.longest.is_some_and(|longest| start.elapsed() > longest),
        };
        let (program, pipeline, times) = match input {
            Input::Case { program, pipeline, times } => (program, pipeline, times),
            Input::Text(text) => match check::text(&text) {
                Ok(Some(program)) => {
                    let pipeline = self.passes.pipeline(&mut rng);
                    (program.into(), pipeline, rng.bool())
                }
                _ => {
                    let fails = |text: &str| check::text(text).is_err_and(|other| other.kind == failure.kind);
                    return shrink::text(&text, &fails);
                }
            },
        };
        let fails = |program: &Program, pipeline: &str| {
            let start = ThreadTime::now();
            is_alike(self.judge(program, pipeline, times), start)
        };
        let (program, pipeline) = shrink::case(&program, &pipeline, &fails);
        format!("// --passes \"{pipeline}\"{}\n{program}", if times { ", with times of steps" } else { "" })
    }
}
