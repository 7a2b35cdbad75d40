//! Passes: what rewrites a program, and the driver that runs them.
//!
//! - [`Pass`]: a rewrite of a program, with its options, how exact it is, and what it needs and ends.
//! - [`Rule`]: a local rewrite, applied wherever it fits, that gives a reason where it does not.
//! - [`Pipeline`]: passes in order, from text or a config file; badly ordered ones are refused.
//! - [`Recipe`]: the passes that a user asks for, with or without the default ones.
//! - [`Driver`]: runs a pipeline: verifies, hashes, times and dumps, and writes a reproducer if a pass fails.
//! - [`PipelineReport`]: what each pass did.

mod about;
mod allowance;
mod alternatives;
mod ancestry;
mod bisect;
mod config;
mod context;
mod driver;
mod dump;
mod explain;
mod glob;
mod nearest;
mod options;
mod pipeline;
mod pipeline_error;
mod property;
mod recipe;
mod registry;
mod report;
mod rule;
mod trace;
mod why;

pub use about::{About, OptionInfo, OptionKind, OptionValue};
pub use allowance::Allowance;
pub use alternatives::{Alternatives, EqualTerm, EqualTerms};
pub use ancestry::{Ancestry, Origin, Placed};
pub use bisect::{Application, BisectError, Culprit, Judged, Probe, bisect};
pub use config::{ConfigError, PassConfig};
pub use context::PassContext;
pub use driver::{Driver, DriverError, DumpPoints, Failure};
pub use dump::{DumpFormat, Header, header};
pub use glob::{Globs, PatternError};
pub use nearest::{did_you_mean, nearest};
pub use options::{one_or_several, options_of, written};
pub use pipeline::Pipeline;
pub use pipeline_error::{OrderError, PipelineError};
pub use property::{ONE_VARIANT, Property};
pub use recipe::Recipe;
pub use registry::{Built, PassInfo, Registry};
pub use report::{Estimate, PassReport, PipelineReport, RuleStats, counted};
pub use rule::{Answer, Mismatch, Place, Rule, RuleError, RuleInfo, apply_rules, is_near, try_rule};
pub use trace::{Trace, TracedPass};
pub use why::{Obstacle, Question, Verdict, Why, WhyError, why};

use crate::{GraphError, Machine, Name, PatchError, Program};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// What a pass may do to results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// The same bits.
    Exact,
    /// The same numbers up to rounding: sums in another order, products of another size.
    Reassociating,
    /// Other numbers, for speed or memory.
    Lossy,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Reassociating => "reassociating",
            Self::Lossy => "lossy",
        })
    }
}

/// Whether a pass changed the program. The driver checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    No,
    Yes,
}

impl From<bool> for Changed {
    fn from(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }
}

/// A rewrite of a program.
pub trait Pass: fmt::Debug + Send + Sync {
    /// Its name in pipeline text.
    fn name(&self) -> &'static str;

    /// All options that it was built with, as in pipeline text; see [`options_of`].
    fn options(&self) -> Map<String, Value> {
        Map::new()
    }

    /// What it may do to results.
    fn exactness(&self) -> Exactness;

    /// The properties that must hold for the pass to run.
    fn requires(&self) -> &'static [Property] {
        &[]
    }

    /// The properties that may no longer hold after it. All others that held before must still hold.
    fn ends(&self) -> &'static [Property] {
        &[]
    }

    /// The properties that hold after it, whether they held before or not.
    fn brings(&self) -> &'static [Property] {
        &[]
    }

    /// The same pass for programs that will run on `machine`, if it depends on the machine and none was given. `None` for other
    /// passes.
    fn settled(&self, machine: &'static Machine) -> Option<Arc<dyn Pass>> {
        let _ = machine;
        None
    }

    /// Why a second run may find more to do. Passes without such a reason are idempotent, which tests check.
    fn why_not_idempotent(&self) -> Option<&'static str> {
        None
    }

    /// Proofs that it preserves what `program` computes, for passes that have them.
    ///
    /// # Errors
    /// If the program or the options do not allow the pass.
    fn explain(&self, _program: &Program) -> Result<Vec<Explanation>, PassError> {
        Ok(Vec::new())
    }

    /// Rewrites `program`. If it fails, the driver discards its changes.
    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError>;

    /// The rules that it consists of, if any: those that its report counts.
    fn rules(&self) -> Vec<RuleInfo> {
        Vec::new()
    }

    /// Whether the rule called `rule` applies at `place`, and if not, why: of several reasons, that of the closest match. `None`
    /// if the pass has no such rule, or one that cannot be asked there.
    ///
    /// For passes made of [`Rule`]s, this is [`try_rule`].
    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let _ = (place, rule);
        None
    }

    /// What [`why`](Self::why) says of all rules at each of `places`, which are of one graph, but for rules that are for values of
    /// another kind.
    fn near(&self, places: &[Place]) -> Vec<Vec<(RuleInfo, Answer)>> {
        let at = |place: &Place| {
            let answers =
                self.rules().into_iter().filter_map(|rule| Some((rule, self.why(place, rule.name)?)));
            answers.filter(|(_, answer)| is_near(answer)).collect()
        };
        places.iter().map(at).collect()
    }

    /// What it has chosen among, for passes that look for the cheapest of several equal programs: one for each kind of block.
    ///
    /// # Errors
    /// If the program or the options do not allow the pass.
    fn alternatives(&self, _program: &Program) -> Result<Vec<Alternatives>, PassError> {
        Ok(Vec::new())
    }
}

/// The proof that a value is equal to the one before a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub value: Name,
    /// The value before, as a term over other values.
    pub before: String,
    /// The rules that were applied, each with the term that it made, which is the value or a part of it. Empty if there is no
    /// separate proof, or if limits kept the pass from finding it again.
    pub steps: Vec<(String, String)>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{} = {}", self.value, self.before)?;
        if self.steps.is_empty() {
            f.write_str("\n    (no separate proof: it follows together with other values, or the search was too large)")?;
        }
        let width = self.steps.iter().map(|(rule, _)| rule.len()).max().unwrap_or(0);
        self.steps.iter().try_for_each(|(rule, term)| write!(f, "\n    {rule:<width$} → {term}"))
    }
}

/// Why a pass could not do its work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassError {
    #[error(transparent)]
    Patch(#[from] PatchError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The program or the options do not allow it; says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// It finds nothing to do, which is rarely intended, with the reason. Not returned if the option `allow_nothing` is set.
    #[error("{0}; remove the pass, or add allow_nothing=true")]
    Nothing(String),
    /// A rule is wrong: its replacement cannot replace the original.
    #[error("{0}: this is a bug of the rule")]
    Broken(String),
    #[error("the rules {0} keep undoing each other: this is a bug of the rules")]
    Diverging(String),
}
