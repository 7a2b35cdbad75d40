//! Functions of a model, put in the place of their calls: what exporters write as one node although ONNX has no such op.

use super::node::{Attribute, MOST_NODES, Node};
use std::collections::{BTreeMap, HashMap};

/// A function of a model.
#[derive(Debug)]
pub struct Function {
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<Node>,
}

/// Functions may call others, so many deep.
const MOST_DEEP: usize = 32;

/// The most bytes of names in the nodes that calls become: what is long in a small file, and called often, would fill the memory.
const MOST_NAMES: usize = 1 << 28;

/// `nodes` with the nodes of `functions` in the place of calls. These are found by their ops' names with their domains.
///
/// # Errors
/// What is the matter, as a sentence without an end: functions that call themselves, or more nodes than are read.
pub fn inlined(nodes: Vec<Node>, functions: &HashMap<String, Function>) -> Result<Vec<Node>, String> {
    let mut inlining = Inlining { functions, all: Vec::with_capacity(nodes.len()), names: 0 };
    for node in nodes {
        inlining.add(node, 0)?;
    }
    Ok(inlining.all)
}

struct Inlining<'f> {
    functions: &'f HashMap<String, Function>,
    all: Vec<Node>,
    /// The bytes of the names of nodes that calls have become.
    names: usize,
}

impl Inlining<'_> {
    fn add(&mut self, node: Node, depth: usize) -> Result<(), String> {
        let Some(function) = self.functions.get(&node.op) else {
            if self.all.len() >= MOST_NODES {
                return Err(format!("with its functions it has more than {MOST_NODES} nodes"));
            }
            self.all.push(node);
            return Ok(());
        };
        if depth >= MOST_DEEP {
            return Err(format!(
                "its function `{}` calls itself, or functions call one another more than {MOST_DEEP} deep",
                node.op
            ));
        }
        let name = match node.name.is_empty() {
            true => node.outputs.first().cloned().unwrap_or_default(),
            false => node.name.clone(),
        };
        // Inputs and outputs that the call leaves out have no name.
        let outer = |locals: &[String], outers: &[String]| -> HashMap<String, String> {
            let outers = outers.iter().cloned().chain(std::iter::repeat(String::new()));
            locals.iter().cloned().zip(outers).collect()
        };
        let (given, results) =
            (outer(&function.inputs, &node.inputs), outer(&function.outputs, &node.outputs));
        let stem = node.outputs.iter().find(|output| !output.is_empty()).unwrap_or(&name);
        let named = |local: &String| match (given.get(local), results.get(local)) {
            _ if local.is_empty() => String::new(),
            (Some(outer), _) => outer.clone(),
            (None, Some(outer)) if !outer.is_empty() => outer.clone(),
            _ => format!("{stem}/{local}"),
        };
        let attribute = |(key, value): (&String, &Attribute)| match value {
            Attribute::OfCall(wanted) => {
                node.attributes.get(wanted).map(|value| (key.clone(), value.clone()))
            }
            value => Some((key.clone(), value.clone())),
        };
        for inner in &function.nodes {
            let own = if inner.name.is_empty() { &inner.op } else { &inner.name };
            let inner = Node {
                name: format!("{name}/{own}"),
                op: inner.op.clone(),
                inputs: inner.inputs.iter().map(named).collect(),
                outputs: inner.outputs.iter().map(named).collect(),
                attributes: inner.attributes.iter().filter_map(attribute).collect(),
                // They are in the module of the call.
                scopes: node.scopes.clone(),
            };
            let names = inner.inputs.iter().chain(&inner.outputs).chain([&inner.name]).chain(&inner.scopes);
            self.names += names.map(String::len).sum::<usize>();
            if self.names > MOST_NAMES {
                return Err("the names in its functions are too long, as often as these are called".into());
            }
            self.add(inner, depth + 1)?;
        }
        // A result that is one of the inputs has to be made.
        for output in function.outputs.iter().filter(|output| given.contains_key(*output)) {
            let (from, to) = (given[output].clone(), results[output].clone());
            if !to.is_empty() {
                self.all.push(Node {
                    name: format!("{name}/{output}"),
                    op: "Identity".to_owned(),
                    inputs: vec![from],
                    outputs: vec![to],
                    attributes: BTreeMap::new(),
                    scopes: node.scopes.clone(),
                });
            }
        }
        Ok(())
    }
}
