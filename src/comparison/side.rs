//! One of the two programs, and how it came about.

use reflux_ir::pass::Trace;
use reflux_ir::{Graph, Name, Program, ValueId};

/// A program, and what passes made of it step by step.
pub struct Side<'t> {
    pub(super) trace: &'t Trace,
    /// After how many passes ops are still as the network has them: each linear by itself, and nothing fused. None if they were never seen
    /// so, as in a compiled model.
    defined: Option<usize>,
}

impl<'t> Side<'t> {
    /// The program after all passes of `trace`. After the first `defined` of them ops are as the network has them.
    pub fn new(trace: &'t Trace, defined: Option<usize>) -> Self {
        Self { trace, defined: defined.map(|passes| passes.min(trace.passes.len())) }
    }

    /// The program that runs.
    pub fn run(&self) -> &'t Program {
        self.trace.before(self.trace.passes.len())
    }

    /// Whether the ops are known of which others were merged and fused.
    pub(super) fn is_defined(&self) -> bool {
        self.defined.is_some()
    }

    /// The program before its ops were merged and fused, which has the values that fused ops only have inside; the one that runs, if that
    /// is not known.
    pub(super) fn defined(&self) -> &'t Program {
        self.trace.before(self.defined.unwrap_or(self.trace.passes.len()))
    }

    /// The value `name` of that program: of the variant that the first step runs, or of a stage that runs before it.
    pub(super) fn find(&self, name: &Name) -> Option<(&'t Graph, ValueId)> {
        let program = self.defined();
        let first = program.schedule.first().and_then(|variant| program.variants.get(variant));
        let graphs = first.into_iter().chain(program.prepares.values());
        graphs.filter_map(|graph| Some((graph, graph.find(name)?))).next()
    }
}
