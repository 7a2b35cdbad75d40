//! Search for the pass, and the rule application in it, that breaks a check.

use super::{Allowance, Driver, DriverError, Exactness, PassReport, Pipeline};
use crate::Program;

/// What breaks a check.
#[derive(Debug)]
pub struct Culprit {
    /// Where the pass stands in the pipeline, counted from 1.
    pub number: usize,
    /// The pass as in pipeline text.
    pub pass: String,
    /// The program before the application, or before the pass if no single rule is to blame.
    pub before: Program,
    pub after: Program,
    pub application: Option<Application>,
}

/// One application of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub rule: String,
    /// Counted from 1 among the rule's applications in the pass.
    pub number: usize,
    pub of: usize,
    /// The term or value that it was applied to.
    pub place: String,
}

/// A program to check.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    pub program: &'a Program,
    /// The reference: the input program, or the result of the last lossy pass that is not judged.
    pub reference: &'a Program,
    /// How many passes it went through, including those of the reference.
    pub passes: usize,
    /// The last of them, as in pipeline text; empty for the input program.
    pub last: Option<&'a str>,
    /// The exactness of the passes since the reference, together.
    pub promise: Exactness,
    /// A rule of the last pass that was stopped after this many applications.
    pub held: Option<(&'a str, usize)>,
}

/// Which passes can be the culprit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judged {
    /// All but lossy ones. The result of a lossy pass is the reference for the passes after it.
    #[default]
    Lossless,
    /// Judge all passes against the input program.
    All,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum BisectError<E: std::error::Error> {
    #[error("the input program fails the check, before any pass")]
    GivenFails,
    #[error("the program passes the check after all passes")]
    AllPass,
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The check could not be made.
    #[error(transparent)]
    Check(E),
}

/// The first pass of `pipeline` after which `program` fails `check`, and, if one rule of that pass is to blame, its first
/// application that makes the difference. The passes before it run in full.
///
/// The number of runs of the pipeline is logarithmic in the number of passes and applications.
///
/// # Errors
/// If the input program fails the check, if no pass makes it fail, if a pass fails, or if `check` does.
pub fn bisect<E: std::error::Error>(
    program: &Program,
    pipeline: &Pipeline,
    timesteps: Option<&[f32]>,
    judged: Judged,
    check: &mut dyn FnMut(Probe) -> Result<bool, E>,
) -> Result<Culprit, BisectError<E>> {
    let mut search = Search { program, pipeline, timesteps, check };
    // A pass that fails does so before anything is checked, which may take minutes.
    search.made(pipeline.passes().len(), &Allowance::default())?;
    let given = search.made(0, &Allowance::default())?;
    if !search.holds(&given, &given, 0, None)? {
        return Err(BisectError::GivenFails);
    }
    let promises: Vec<Exactness> = pipeline.passes().map(|pass| pass.exactness()).collect();
    let mut start = 0;
    loop {
        let is_border = |exactness: &Exactness| judged == Judged::Lossless && *exactness == Exactness::Lossy;
        let end = promises[start..].iter().position(is_border).map_or(promises.len(), |at| start + at);
        let reference = search.made(start, &Allowance::default())?;
        if end > start {
            let stretch = Stretch { reference, start, promises: &promises[start..] };
            let last = search.made(end, &Allowance::default())?;
            if !search.probe(&stretch, &last, end, None)? {
                return search.culprit(&stretch, end);
            }
        }
        if end == promises.len() {
            return Err(BisectError::AllPass);
        }
        start = end + 1;
    }
}

/// Passes that are compared with one program.
struct Stretch<'p> {
    /// The program after the passes before `start`.
    reference: Rewritten,
    start: usize,
    /// Of the passes from `start` on.
    promises: &'p [Exactness],
}

/// A program, and the report of the last pass that made it.
struct Rewritten {
    program: Program,
    report: Option<PassReport>,
    /// The place of the last application that was allowed.
    place: Option<String>,
}

struct Search<'a, E> {
    program: &'a Program,
    pipeline: &'a Pipeline,
    timesteps: Option<&'a [f32]>,
    check: &'a mut dyn FnMut(Probe) -> Result<bool, E>,
}

impl<E: std::error::Error> Search<'_, E> {
    /// The result of the first `passes` passes, the last limited by `allowance`.
    fn made(&self, passes: usize, allowance: &Allowance) -> Result<Rewritten, DriverError> {
        let mut driver = Driver {
            timesteps: self.timesteps,
            stop_after: Some(passes),
            allowance: allowance.clone(),
            ..Driver::default()
        };
        let (program, mut report) = driver.run(self.program.clone(), self.pipeline)?;
        Ok(Rewritten { program, report: report.passes.pop(), place: allowance.last() })
    }

    fn holds(
        &mut self,
        reference: &Rewritten,
        made: &Rewritten,
        passes: usize,
        promised: Option<(Exactness, Option<(&str, usize)>)>,
    ) -> Result<bool, BisectError<E>> {
        let (promise, held) = promised.unwrap_or((Exactness::Exact, None));
        let last = made.report.as_ref().map(|report| &*report.pass);
        let probe =
            Probe { program: &made.program, reference: &reference.program, passes, last, promise, held };
        (self.check)(probe).map_err(BisectError::Check)
    }

    fn probe(
        &mut self,
        stretch: &Stretch,
        made: &Rewritten,
        passes: usize,
        held: Option<(&str, usize)>,
    ) -> Result<bool, BisectError<E>> {
        let promises = &stretch.promises[..passes - stretch.start];
        let promise = promises.iter().copied().max().unwrap_or(Exactness::Exact);
        self.holds(&stretch.reference, made, passes, Some((promise, held)))
    }

    /// The culprit among the passes of `stretch` before `end`, which fail together.
    fn culprit(&mut self, stretch: &Stretch, end: usize) -> Result<Culprit, BisectError<E>> {
        let whole = Allowance::default();
        let count = first_failing(end - stretch.start, &mut |count| {
            let passes = stretch.start + count;
            let made = self.made(passes, &whole)?;
            self.probe(stretch, &made, passes, None)
        })?;
        let number = stretch.start + count;
        let after = self.made(number, &whole)?;
        let report = after.report.expect("a pass was run");
        let before = self.made(number - 1, &whole)?.program;
        let mut culprit =
            Culprit { number, pass: report.pass, before, after: after.program, application: None };
        for (&rule, stats) in report.rules.iter().filter(|(_, stats)| stats.hits > 0) {
            // Without a limit the pass may find more to do, so the last application includes all later ones.
            let of = stats.hits;
            let mut holds = |count: usize| {
                let allowance = if count == of { whole.clone() } else { Allowance::of(rule, count) };
                let made = self.made(number, &allowance)?;
                self.probe(stretch, &made, number, Some((rule, count)))
            };
            if !holds(0)? {
                continue;
            }
            let first = first_failing(of, &mut holds)?;
            let with = self.made(number, &Allowance::of(rule, first))?;
            culprit.after = with.program;
            culprit.before = self.made(number, &Allowance::of(rule, first - 1))?.program;
            let place = with.place.unwrap_or_default();
            culprit.application = Some(Application { rule: rule.to_owned(), number: first, of, place });
            break;
        }
        Ok(culprit)
    }
}

/// The least count in `1..=most` that fails, where `most` does and 0 does not.
fn first_failing<E>(most: usize, holds: &mut dyn FnMut(usize) -> Result<bool, E>) -> Result<usize, E> {
    let (mut good, mut bad) = (0, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if holds(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(bad)
}
