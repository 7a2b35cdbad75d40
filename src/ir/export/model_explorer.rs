//! Model Explorer's graph JSON.

use crate::hash::hash_of;
use crate::op::Op;
use crate::{Graph, Machine, ModulePath, Name, Program, Stage, ValueId};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The program as Model Explorer's graph JSON, a list with a graph per stage: module path → namespace, types → output metadata. With
/// a machine, ops have their estimated time in ns besides their FLOP and bytes. The output `choice` of a probe says what is
/// chosen by which index.
///
/// The list has no label of its own, so that Model Explorer calls it after its file: by that name it looks for the model that node data
/// are for.
pub fn model_explorer(program: &Program, machine: Option<&Machine>) -> Value {
    let ids = GraphIds::of(program);
    // What is prepared is in the module of whoever prepares it, wherever it is read: hundreds of inputs would be beside each other.
    let prepared: HashMap<&Name, &ModulePath> = program
        .prepares
        .values()
        .flat_map(|graph| graph.outputs().iter().map(|output| (&output.label, &graph[output.value].path)))
        .collect();
    let graphs: Vec<_> = program
        .stages()
        .map(|(stage, graph)| {
            let keys = Keys::of(graph);
            let nodes: Vec<_> =
                graph.order().into_iter().map(|id| node(graph, id, &keys, &prepared, machine)).collect();
            let outputs = graph.outputs().iter().map(|output| {
                let mut node = json!({
                    "id": format!("-> {}", output.label),
                    "label": output.label.to_string(),
                    "namespace": "",
                    "incomingEdges": [edge(&keys, output.value, 0)],
                });
                if *output.label == *Program::CHOICE
                    && let Some((_, choices)) = stage.probe_of(program)
                {
                    let choices = choices.iter().enumerate();
                    let attribute =
                        |(index, name): (usize, &Name)| json!({ "key": index.to_string(), "value": &**name });
                    node["attrs"] = choices.map(attribute).collect();
                }
                node
            });
            json!({ "id": ids.get(&stage), "nodes": nodes.into_iter().chain(outputs).collect::<Vec<_>>() })
        })
        .collect();
    Value::Array(graphs)
}

/// What Model Explorer calls the stages of a program.
///
/// It shows graphs of several files, but each id once: a second graph of the same id gets another one, under which it has no node
/// data. So ids have digits that are those of the program's text.
pub(super) struct GraphIds {
    name: Name,
    digits: String,
}

impl GraphIds {
    pub fn of(program: &Program) -> Self {
        const DIGITS: usize = 6;
        let digits = format!("{:016x}", hash_of(&program.to_string()));
        Self { name: program.name.clone(), digits: digits[..DIGITS].to_owned() }
    }

    pub fn get(&self, stage: &Stage) -> String {
        format!("{} {stage} #{}", self.name, self.digits)
    }
}

/// What Model Explorer calls the values of a graph: as they are written as operands. A weight that is read as several types is several
/// values, each with its type.
pub(super) struct Keys(HashMap<ValueId, String>);

impl Keys {
    pub fn of(graph: &Graph) -> Self {
        let written = |id: ValueId| graph.operand(id).to_string();
        let mut counts: HashMap<String, usize> = HashMap::new();
        graph.ids().for_each(|id| *counts.entry(written(id)).or_default() += 1);
        let key = |id: ValueId| match counts[&written(id)] {
            1 => written(id),
            _ => format!("{} {}", written(id), graph[id].fact),
        };
        Self(graph.ids().map(|id| (id, key(id))).collect())
    }

    pub fn get(&self, id: ValueId) -> &str {
        &self.0[&id]
    }
}

/// What is written on a node: what is given by its name, a number as such, a weight by what its module calls it, all else by its op.
fn label(graph: &Graph, id: ValueId) -> String {
    match &graph[id].op {
        Op::Input(_) => graph[id].name.to_string(),
        Op::Constant(constant) => format!("{:?}", constant.value.0),
        Op::Weight(weight) => weight.tensor.rsplit('.').next().unwrap_or_default().to_owned(),
        op => op.name().to_owned(),
    }
}

fn node(
    graph: &Graph,
    id: ValueId,
    keys: &Keys,
    prepared: &HashMap<&Name, &ModulePath>,
    machine: Option<&Machine>,
) -> Value {
    let node = &graph[id];
    let mut attrs: Vec<_> = node
        .op
        .attributes()
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            json!({ "key": key, "value": value })
        })
        .collect();
    let cost = graph.cost(id);
    let time = machine.map(|machine| ("ns", machine.of_value(graph, id)));
    let costs = [("flops", cost.flops), ("bytes", cost.bytes)].into_iter().chain(time);
    attrs.extend(costs.map(|(key, count)| json!({ "key": key, "value": count.to_string() })));
    let namespace: Vec<_> = match &node.op {
        // A weight belongs to the module that its name starts with.
        Op::Weight(weight) => {
            weight.tensor.rsplit_once('.').map_or("", |(module, _)| module).split('.').collect()
        }
        Op::Input(_) => prepared.get(&node.name).map_or(&node.path, |path| *path).segments().collect(),
        _ => node.path.segments().collect(),
    };
    let edges: Vec<_> =
        graph.operands(id).into_iter().enumerate().map(|(port, operand)| edge(keys, operand, port)).collect();
    json!({
        "id": keys.get(id),
        "label": label(graph, id),
        "namespace": namespace.join("/"),
        "attrs": attrs,
        "incomingEdges": edges,
        "outputsMetadata": [{
            "id": "0",
            "attrs": [
                { "key": "__tensor_tag", "value": keys.get(id) },
                { "key": "tensor_shape", "value": node.fact.to_string() },
            ],
        }],
    })
}

fn edge(keys: &Keys, source: ValueId, port: usize) -> Value {
    json!({ "sourceNodeId": keys.get(source), "sourceNodeOutputId": "0", "targetNodeInputId": port.to_string() })
}
