//! Reports on what passes did.

use super::{Changed, Exactness, Explanation, options};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// What a pipeline did, pass by pass.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PipelineReport {
    pub passes: Vec<PassReport>,
}

impl PipelineReport {
    /// Whether a pass hit a limit before it was done.
    pub fn is_cut_short(&self) -> bool {
        self.passes.iter().any(|pass| pass.is_cut_short)
    }

    /// The warnings of all passes.
    pub fn warnings(&self) -> impl Iterator<Item = &String> {
        self.passes.iter().flat_map(|pass| &pass.warnings)
    }
}

/// What one pass did.
#[derive(Clone, Debug, Serialize)]
pub struct PassReport {
    /// The pass as pipeline text that reproduces it: with all its options, including those that it determined itself.
    pub pass: String,
    /// What it is called, without options.
    #[serde(skip)]
    pub name: &'static str,
    #[serde(skip)]
    positional: Option<&'static str>,
    pub exactness: Exactness,
    pub changed: bool,
    /// Ops of all stages before and after.
    pub ops_before: usize,
    pub ops_after: usize,
    /// The time of a picture before and after, if the driver was given a machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    pub seconds: f64,
    /// By rule, in order of first use.
    pub rules: IndexMap<&'static str, RuleStats>,
    /// Notes for the user, line by line.
    pub notes: Vec<String>,
    /// Warnings for the user, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether the pass hit a limit before it was done, which its notes say: a second run may find more to do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut_short: bool,
    /// Proofs that values are equal to those before, if the driver was asked for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explanations: Vec<Explanation>,
}

/// The time of a program's schedule on a [`Machine`](crate::Machine), in ns, before a pass and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    pub machine: &'static str,
    pub before: u64,
    pub after: u64,
    /// Whether steps may take less, because probes choose what they run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_most: bool,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = [self.before, self.after].map(|nanoseconds| nanoseconds as f64 / 1e6);
        let most = if self.is_most { "at most " } else { "" };
        write!(f, "{most}{before:.1} → {after:.1} ms")
    }
}

/// How often a rule was tried and applied, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RuleStats {
    pub tries: usize,
    pub hits: usize,
    /// Of all tries, and of the rewrites where they fitted; zero where the pass does not measure.
    pub seconds: f64,
}

/// `1 value`, `2 values`: for notes.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

impl PassReport {
    /// Of a pass that has not run.
    pub(super) fn new(
        name: &'static str,
        pass: String,
        positional: Option<&'static str>,
        exactness: Exactness,
    ) -> Self {
        Self {
            pass,
            name,
            positional,
            exactness,
            changed: false,
            ops_before: 0,
            ops_after: 0,
            estimate: None,
            seconds: 0.0,
            rules: IndexMap::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            is_cut_short: false,
            explanations: Vec::new(),
        }
    }

    /// Counts a try of `rule`.
    pub fn count(&mut self, rule: &'static str, hit: Changed) {
        self.count_all(rule, 1, usize::from(hit == Changed::Yes));
    }

    /// Adds to the time spent on `rule`.
    pub fn spend(&mut self, rule: &'static str, time: Duration) {
        self.rules.entry(rule).or_default().seconds += time.as_secs_f64();
    }

    /// Counts `tries` of `rule` and `hits` among them.
    pub fn count_all(&mut self, rule: &'static str, tries: usize, hits: usize) {
        let stats = self.rules.entry(rule).or_default();
        stats.tries += tries;
        stats.hits += hits;
    }

    /// Sets the options that reproduce this run, if they include some that the pass took from the
    /// [context](super::PassContext).
    pub fn replay_with(&mut self, options: Map<String, Value>) {
        self.pass = format!("{}{}", self.name, options::print(&options, self.positional));
    }

    /// Adds a note for the user.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Adds a warning for the user.
    pub fn warn(&mut self, line: impl Into<String>) {
        self.warnings.push(line.into());
    }

    /// The report without times, which differ from run to run.
    pub fn timeless(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.write(f, false))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, times: bool) -> fmt::Result {
        let outcome = if self.changed {
            format!("{} → {}", self.ops_before, counted(self.ops_after, "op"))
        } else {
            "no change".into()
        };
        write!(f, "{} | {} | {outcome}", self.pass, self.exactness)?;
        if let Some(estimate) = self.estimate {
            write!(f, " | {estimate}")?;
        }
        if times {
            write!(f, " | {:.1} ms", self.seconds * 1e3)?;
        }
        let rules = self.rules.iter().filter(|(_, stats)| stats.hits > 0);
        let rules: Vec<_> =
            rules.map(|(rule, RuleStats { tries, hits, .. })| format!("{rule} {hits}/{tries}")).collect();
        if !rules.is_empty() {
            write!(f, " | {}", rules.join(", "))?;
        }
        for note in &self.notes {
            write!(f, "\n    {note}")?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\n    warning: {warning}"))
    }
}

impl fmt::Display for PassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

impl PipelineReport {
    /// A table of every rule that passes have tried: how often, how often it fitted, and the time it took.
    pub fn rules(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| {
            for pass in self.passes.iter().filter(|pass| !pass.rules.is_empty()) {
                writeln!(f, "{:<32} {:>8} {:>8} {:>10}", pass.pass, "tries", "hits", "ms")?;
                for (rule, RuleStats { tries, hits, seconds }) in &pass.rules {
                    let time =
                        if *seconds > 0.0 { format!("{:.3}", seconds * 1e3) } else { "–".to_owned() };
                    writeln!(f, "  {rule:<30} {tries:>8} {hits:>8} {time:>10}")?;
                }
            }
            Ok(())
        })
    }
}

impl fmt::Display for PipelineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.passes.iter().try_for_each(|pass| writeln!(f, "{pass}"))
    }
}
