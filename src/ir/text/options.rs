//! What a printed program shows.

use super::range;
use crate::{Cost, Machine, Name, duration, si};

/// What to print besides the program itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// FLOP and bytes of each op and each stage, as comments.
    pub costs: bool,
    /// With `costs`, also the time that it takes on this device, and the schedule's.
    pub machine: Option<&'static Machine>,
    /// What each rewritten value replaced, as a comment.
    pub provenance: bool,
    /// Print every block and every name separately, instead of repeated blocks and ranges of names.
    pub unrolled: bool,
    /// Print of the blocks of a stack only this many, each separately, and how many are left out. Such a text does not parse.
    pub blocks: Option<usize>,
}

impl PrintOptions {
    /// How costs read.
    pub(super) fn cost(&self, cost: Cost, time: impl Fn(&Machine) -> u64) -> String {
        let time = self.machine.map(|machine| format!(", {}", duration(time(machine)))).unwrap_or_default();
        format!("{}FLOP, {}B{time}", si(cost.flops), si(cost.bytes))
    }

    /// Whether the names print as a range.
    pub(super) fn fold(&self, name: &Name, next: &Name) -> bool {
        !self.unrolled && range::follows(name, next)
    }
}
