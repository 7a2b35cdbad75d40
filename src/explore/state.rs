//! A program between passes.

use super::DifferenceRow;
use reflux_ir::export::{ListedLine, ListedValue, Listing};
use reflux_ir::pass::Exactness;
use serde::Serialize;

/// The program before all passes, or after one.
#[derive(Serialize)]
pub struct State {
    ops: usize,
    ns: Option<u64>,
    weight_bytes: u64,
    schedule: Vec<(String, usize)>,
    pub(super) stages: Vec<String>,
    lines: Vec<ListedLine>,
    pub(super) values: Vec<ExploredValue>,
    /// To the state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference: Option<Vec<DifferenceRow>>,
}

/// A value, or those of all rounds of a repeated block.
#[derive(Serialize)]
pub(super) struct ExploredValue {
    #[serde(flatten)]
    pub listed: ListedValue,
    /// The worst of the passes that made it, or something that it is made of; what it reads does not count.
    pub exactness: Exactness,
    /// The values of the state before that it is, or is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The rule that made it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<Verdict>,
    /// Of all kernels of the page, the number of the one that computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<usize>,
    /// The time in ms that its rounds took in one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_ms: Option<f64>,
}

/// What a pass did to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Same,
    Moved,
    Changed,
    Made,
}

/// What a rule says of a value: the number of its pass, its name, whether it applies, details or the reason why it does not, and the
/// line of the value that is in its way.
#[derive(Serialize)]
pub(super) struct Verdict(pub usize, pub &'static str, pub bool, pub String, pub Option<String>);

impl State {
    pub(super) fn of(listing: Listing) -> Self {
        let Listing { ops, ns, weight_bytes, schedule, stages, lines, values } = listing;
        let value = |listed: ListedValue| ExploredValue {
            listed,
            exactness: Exactness::Exact,
            from: None,
            change: None,
            rule: None,
            why: Vec::new(),
            kernel: None,
            measured_ms: None,
        };
        let values = values.into_iter().map(value).collect();
        Self { ops, ns, weight_bytes, schedule, stages, lines, values, difference: None }
    }
}
