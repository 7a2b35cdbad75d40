//! Ops without a kernel in the engine: their operands are copied to where burn reads them, and their results back.

use super::planner::Planner;
use super::{Launch, LaunchPlan};
use crate::backend::cuda::known::is_known;
use crate::backend::cuda::source::{Coding, StoredValue};
use crate::backend::cuda::view::Pointer;
use reflux_ir::{Name, ValueId};

/// An op in between, which runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignOp {
    pub value: ValueId,
    pub name: Name,
    /// Why it has no kernel.
    pub why: String,
    /// Where the operands are; `None` for those that burn has anyway: inputs, weights, constants.
    pub operands: Vec<Option<Crossing>>,
    pub result: Crossing,
}

/// Where a value is that crosses over: all of it without gaps, row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub data: Pointer,
    /// Of codes.
    pub scales: Option<Pointer>,
}

impl Crossing {
    fn to(stored: &StoredValue) -> Self {
        let scales = stored.coding.as_ref().map(|Coding { scales, .. }| Pointer::to(scales));
        Self { data: Pointer::to(&stored.data), scales }
    }

    fn pointers(&self) -> impl Iterator<Item = Pointer> {
        [self.data].into_iter().chain(self.scales)
    }
}

impl ForeignOp {
    /// What it reads and writes of the plan's.
    pub(super) fn pointers(&self) -> impl Iterator<Item = Pointer> + '_ {
        self.operands.iter().flatten().chain([&self.result]).flat_map(Crossing::pointers)
    }
}

impl LaunchPlan {
    /// The ops that no kernel of ours computes.
    pub fn foreign(&self) -> impl Iterator<Item = &ForeignOp> {
        self.launches.iter().filter_map(|launch| match launch {
            Launch::Foreign(foreign) => Some(foreign),
            _ => None,
        })
    }
}

impl Planner<'_> {
    /// Leaves the op of `id` to others, and what it reads that was to be computed together with it.
    pub(super) fn foreign(&mut self, id: ValueId, why: String) {
        let operands = self.graph.operands(id);
        let operands = operands.into_iter().map(|operand| self.edge(id, operand, &why)).collect();
        let fact = self.graph[id].fact.clone();
        let room = self.room(&fact.shape, fact.dtype);
        let made = self.with_scales(room, &fact);
        let (name, result) = (self.graph[id].name.clone(), Crossing::to(&made));
        self.launches.push(Launch::Foreign(ForeignOp { value: id, name, why, operands, result }));
        self.stored.insert(id, made);
    }

    /// Where `operand` is for others, if they do not have it.
    fn edge(&mut self, reader: ValueId, operand: ValueId, why: &str) -> Option<Crossing> {
        if !self.graph.is_op(operand) || is_known(self.graph, operand) {
            return None;
        }
        if !self.stored.contains_key(&operand) {
            self.foreign(operand, why.to_owned());
        }
        let mut stored = self.stored[&operand].clone();
        if !stored.data.is_contiguous() {
            stored.data = self.copied(reader, &stored.data);
        }
        Some(Crossing::to(&stored))
    }
}
