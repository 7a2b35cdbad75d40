//! A record of a pipeline at work, for whoever wants to look at it afterwards.

use crate::{Edit, Program, Stage};

/// The program between passes, and what each pass did step by step.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The program before all passes.
    pub input: Program,
    /// Pass by pass, as in the report.
    pub passes: Vec<TracedPass>,
}

/// What one pass did.
#[derive(Clone, Debug)]
pub struct TracedPass {
    /// The program after it.
    pub program: Program,
    /// Its patches, in the order in which they were applied, each with the stage that it was applied to. A stage that the pass
    /// itself makes has none.
    pub edits: Vec<(Stage, Edit)>,
}

impl Trace {
    /// Of no pass yet.
    pub fn of(input: Program) -> Self {
        Self { input, passes: Vec::new() }
    }

    /// The program before pass `index`.
    pub fn before(&self, index: usize) -> &Program {
        match index.checked_sub(1) {
            Some(last) => &self.passes[last].program,
            None => &self.input,
        }
    }
}
