//! The functions of a model: what ops compute that are several of ONNX's.

use super::message::{Attribute, Function, Node, Tensor};
use super::names::Names;
use std::borrow::Cow;

/// Each distinct function once.
#[derive(Debug, Default)]
pub struct Functions {
    all: Vec<Function>,
    names: Names,
}

/// The largest number of functions that are compared with one another to find those that are the same.
const MOST_COMPARED: usize = 4096;

impl Functions {
    /// The name of the function of these nodes, after the op that it is; `meaning` is that op in IR text.
    pub fn named(
        &mut self,
        op: &str,
        meaning: String,
        inputs: Vec<String>,
        outputs: Vec<String>,
        constants: Vec<(String, Tensor)>,
        nodes: Vec<Node>,
    ) -> String {
        let constants = constants.into_iter().map(|(name, tensor)| Node {
            op: Cow::Borrowed("Constant"),
            is_call: false,
            inputs: Vec::new(),
            outputs: vec![name],
            attributes: vec![("value", Attribute::Tensor(tensor))],
            place: None,
        });
        let nodes: Vec<Node> = constants.chain(nodes).collect();
        let is_same =
            |known: &&Function| known.inputs == inputs && known.outputs == outputs && known.nodes == nodes;
        if let Some(known) = self.all.iter().take(MOST_COMPARED).find(is_same) {
            return known.name.clone();
        }
        let name = self.names.free(op);
        self.all.push(Function { name: name.clone(), meaning, inputs, outputs, nodes });
        name
    }

    /// All of them, in the order of their first use.
    pub fn into_all(self) -> Vec<Function> {
        self.all
    }
}
