//! Building of new graphs.

use crate::op::Constant;
use crate::{Fact, Graph, GraphError, ModulePath, Name, Op, ValueId};
use std::ops::Deref;

/// A graph under construction: inputs, ops after their operands, outputs. It derefs to [`Graph`].
///
/// An existing graph is edited by a [`Patch`](crate::Patch), which records what was replaced by what.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// Begins an empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input of the given fact.
    ///
    /// # Errors
    /// If there is already a value with this name.
    pub fn input(&mut self, name: impl Into<Name>, fact: Fact) -> Result<ValueId, GraphError> {
        self.graph.input(name, fact)
    }

    /// The weight `tensor`, added on first use. It may be read as several element types, but has one shape.
    ///
    /// # Errors
    /// If it was read with another shape before.
    pub fn weight(&mut self, tensor: impl Into<String>, fact: Fact) -> Result<ValueId, GraphError> {
        self.graph.weight(tensor, fact)
    }

    /// The scalar `constant`, added on first use.
    ///
    /// # Errors
    /// If the dtype does not have this number.
    pub fn constant(&mut self, constant: Constant) -> Result<ValueId, GraphError> {
        self.graph.constant(constant)
    }

    /// Adds `op` over `operands`, inferring its fact. An existing constant is reused, whatever the name.
    ///
    /// # Errors
    /// If the op does not accept its operands, or there is already a value with this name.
    pub fn add(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        name: impl Into<Name>,
        path: ModulePath,
    ) -> Result<ValueId, GraphError> {
        self.graph.add(op, operands, name, path)
    }

    /// Makes `value` an output called `label`.
    pub fn output(&mut self, label: impl Into<Name>, value: ValueId) {
        self.graph.output(label, value);
    }

    /// The graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

impl Deref for GraphBuilder {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        &self.graph
    }
}
