//! What a pass has chosen among.

use crate::{Fact, Name, Stage};

/// A stretch of a graph, the programs that are equal to it, and the one that was chosen.
#[derive(Clone, Debug)]
pub struct Alternatives {
    /// Where its first use is.
    pub stage: Stage,
    /// How many stretches are the same but for names.
    pub uses: usize,
    /// Ops before and after.
    pub ops: [usize; 2],
    /// The estimated time in ns of what was chosen.
    pub nanoseconds: u64,
    /// What choosing the cheapest term of each class by itself gives, with each class paid for once.
    pub greedy: u64,
    /// That, with each class paid for as often as it is read.
    pub tree: u64,
    /// How often the rules were applied to everything.
    pub rounds: usize,
    /// Whether nothing was left for the rules to do.
    pub is_saturated: bool,
    /// Classes and terms in all, with those of inputs and numbers.
    pub size: [usize; 2],
    /// The classes of what is computed.
    pub classes: Vec<EqualTerms>,
}

/// Terms that are equal.
#[derive(Clone, Debug)]
pub struct EqualTerms {
    /// A number, by which terms name it as `#7`.
    pub id: usize,
    /// The value of the first use that they compute, if the graph had it.
    pub value: Option<Name>,
    pub fact: Fact,
    pub terms: Vec<EqualTerm>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct EqualTerm {
    pub text: String,
    /// The estimated time in ns of this op alone.
    pub nanoseconds: u64,
    pub is_chosen: bool,
}
