//! Finding the pass, and in it the application of a rule, that breaks a check.

use super::{Allowance, Driver, DriverError, PassReport, Pipeline};
use crate::Program;

/// What breaks a check.
#[derive(Debug)]
pub struct Culprit {
    /// Where the pass stands in the pipeline, counted from 1.
    pub number: usize,
    /// The pass as in pipeline text.
    pub pass: String,
    /// The program before the application, or before the pass if it applies no rules that are to blame.
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

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum BisectError<E: std::error::Error> {
    #[error("the program fails the check as it is given, before any pass")]
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
/// application that makes the difference. The passes before stay as they are.
///
/// Runs the pipeline a number of times that grows with the logarithm of passes and applications.
///
/// # Errors
/// If the program fails at once, or not at all, if a pass fails, or if `check` does.
pub fn bisect<E: std::error::Error>(
    program: &Program,
    pipeline: &Pipeline,
    timesteps: Option<&[f32]>,
    check: &mut dyn FnMut(&Program) -> Result<bool, E>,
) -> Result<Culprit, BisectError<E>> {
    let run = |passes: usize, allowance: Allowance| -> Result<(Program, Option<PassReport>), DriverError> {
        let mut driver = Driver { timesteps, stop_after: Some(passes), allowance, ..Driver::default() };
        let (after, mut report) = driver.run(program.clone(), pipeline)?;
        Ok((after, report.passes.pop()))
    };
    let mut holds = |program: &Program| check(program).map_err(BisectError::Check);
    if !holds(program)? {
        return Err(BisectError::GivenFails);
    }
    if holds(&run(usize::MAX, Allowance::default())?.0)? {
        return Err(BisectError::AllPass);
    }
    let number =
        first_failing(pipeline.passes().len(), &mut |passes| holds(&run(passes, Allowance::default())?.0))?;
    let (after, report) = run(number, Allowance::default())?;
    let report = report.expect("a pass was run");
    let before = run(number - 1, Allowance::default())?.0;
    let mut culprit = Culprit { number, pass: report.pass, before, after, application: None };
    for (&rule, stats) in report.rules.iter().filter(|(_, stats)| stats.hits > 0) {
        if !holds(&run(number, Allowance::of(rule, 0))?.0)? {
            continue;
        }
        // The pass may find more to do where it is not held back, so the last application stands for all that follow.
        let of = stats.hits;
        let first = first_failing(of, &mut |count| {
            holds(
                &run(number, if count == of { Allowance::default() } else { Allowance::of(rule, count) })?.0,
            )
        })?;
        let allowance = Allowance::of(rule, first);
        culprit.after = run(number, allowance.clone())?.0;
        culprit.before = run(number, Allowance::of(rule, first - 1))?.0;
        let place = allowance.last().unwrap_or_default();
        culprit.application = Some(Application { rule: rule.to_owned(), number: first, of, place });
        break;
    }
    Ok(culprit)
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
