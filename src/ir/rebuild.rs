//! Rebuilding of a graph for other shapes.

use crate::op::Op;
use crate::{Fact, Graph, GraphError, Node, ValueId};
use std::collections::HashMap;

impl Graph {
    /// The graph with other types: each input gets the fact that `input` returns, every op is the one that `op` returns given the
    /// facts of its new operands, and all other facts are inferred. Names, modules, provenance, weights and results stay.
    ///
    /// This is for passes that change shapes from the inputs on; a [`Patch`](crate::Patch) preserves every type. `op` has to adapt
    /// ops that have extents as attributes, like `reshape` and `slice`; a wrong one is an error.
    ///
    /// # Errors
    /// The first op that does not accept its new operands.
    pub fn rebuilt(
        &self,
        input: impl Fn(&Node) -> Fact,
        op: impl Fn(&Node, &[&Fact]) -> Op,
    ) -> Result<Graph, GraphError> {
        let mut graph = Graph::default();
        let mut new: HashMap<ValueId, ValueId> = HashMap::with_capacity(self.len());
        for &id in self.inputs() {
            new.insert(id, graph.input(self[id].name.clone(), input(&self[id]))?);
        }
        for id in self.order() {
            let node = &self[id];
            let made = match &node.op {
                Op::Input(_) => continue,
                Op::Weight(weight) => graph.weight(&weight.tensor, node.fact.clone())?,
                Op::Constant(constant) => graph.constant(constant.clone())?,
                _ => {
                    let operands: Vec<_> = self.operands(id).iter().map(|operand| new[operand]).collect();
                    let facts: Vec<&Fact> = operands.iter().map(|&operand| &graph[operand].fact).collect();
                    let op = op(node, &facts);
                    let made = graph.add(op, &operands, node.name.clone(), node.path.clone())?;
                    graph.dag[made.0].provenance = node.provenance.clone();
                    made
                }
            };
            new.insert(id, made);
        }
        for output in self.outputs() {
            graph.output(output.label.clone(), new[&output.value]);
        }
        Ok(graph)
    }
}
