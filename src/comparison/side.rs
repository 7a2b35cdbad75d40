//! One of the two programs, and how it came about.

use reflux_ir::pass::Trace;
use reflux_ir::{Graph, Name, Program, ValueId};

/// A program, and what passes made of it step by step.
pub struct Side<'p> {
    /// From the program before all passes to the one that runs. One alone, if it is not known how it was made.
    states: Vec<&'p Program>,
    /// Which of them is the last in which ops are as the network has them: each linear by itself, and nothing fused.
    defined: usize,
}

impl<'p> Side<'p> {
    /// Of the program before all passes of `trace`, and after each. Up to pass `merges`, counted from 0, ops are as the network has them.
    pub fn traced(trace: &'p Trace, merges: usize) -> Self {
        let passes = trace.passes.iter().map(|traced| &traced.program);
        let states = std::iter::once(&trace.input).chain(passes).collect();
        Self { states, defined: merges.min(trace.passes.len()) }
    }

    pub(super) fn states(&self) -> &[&'p Program] {
        &self.states
    }

    /// The program that runs.
    pub fn run(&self) -> &'p Program {
        self.states[self.states.len() - 1]
    }

    /// The program before all passes, by which modules are known.
    pub(super) fn original(&self) -> &'p Program {
        self.states[0]
    }

    /// The program before its ops were merged and fused, which has the values that fused ops only have inside.
    pub(super) fn defined(&self) -> &'p Program {
        self.states[self.defined]
    }

    /// The value `name` of the variant that the first step runs, before ops were fused.
    pub(super) fn find(&self, name: &Name) -> Option<(&'p Graph, ValueId)> {
        let program = self.defined();
        let graph = program.variants.get(program.schedule.first()?)?;
        Some((graph, graph.find(name)?))
    }
}
