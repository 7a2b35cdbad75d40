//! Model Explorer: its graph JSON, and the node-data JSON that colours it by cost.

use crate::op::Op;
use crate::{Graph, Machine, Name, Program, Stage, ValueId};
use serde_json::{Map, Value, json};

/// The program as Model Explorer's graph JSON, a graph per stage: module path → namespace, types → output metadata. With
/// a machine, ops have their estimated time in ns besides their FLOP and bytes. The output `choice` of a probe says what is
/// chosen by which index.
pub fn model_explorer(program: &Program, machine: Option<&Machine>) -> Value {
    let graphs: Vec<_> = program
        .stages()
        .map(|(stage, graph)| {
            let nodes: Vec<_> = graph.order().into_iter().map(|id| node(graph, id, machine)).collect();
            let outputs = graph.outputs().iter().map(|output| {
                let mut node = json!({
                    "id": format!("-> {}", output.label),
                    "label": output.label.to_string(),
                    "namespace": "",
                    "incomingEdges": [edge(graph, output.value, 0)],
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
            json!({ "id": graph_id(program, &stage), "nodes": nodes.into_iter().chain(outputs).collect::<Vec<_>>() })
        })
        .collect();
    json!({ "label": program.name.to_string(), "graphs": graphs })
}

/// What `cost` says of each value as Model Explorer's node-data JSON: its FLOP, its bytes, its time on a machine.
pub fn node_data(program: &Program, cost: impl Fn(&Graph, ValueId) -> u64) -> Value {
    let mut data = Map::new();
    for (stage, graph) in program.stages() {
        let results: Map<String, Value> = graph
            .order()
            .into_iter()
            .map(|id| (key(graph, id), cost(graph, id)))
            .filter(|(_, cost)| *cost > 0)
            .map(|(key, cost)| (key, json!({ "value": cost })))
            .collect();
        let gradient = json!([{ "stop": 0, "bgColor": "#ffffff" }, { "stop": 1, "bgColor": "#e8590c" }]);
        data.insert(graph_id(program, &stage), json!({ "results": results, "gradient": gradient }));
    }
    Value::Object(data)
}

fn graph_id(program: &Program, stage: &Stage) -> String {
    format!("{} {stage}", program.name)
}

fn key(graph: &Graph, id: ValueId) -> String {
    graph.operand(id).to_string()
}

fn node(graph: &Graph, id: ValueId, machine: Option<&Machine>) -> Value {
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
        _ => node.path.segments().collect(),
    };
    let edges: Vec<_> = graph
        .operands(id)
        .into_iter()
        .enumerate()
        .map(|(port, operand)| edge(graph, operand, port))
        .collect();
    json!({
        "id": key(graph, id),
        "label": node.op.name(),
        "namespace": namespace.join("/"),
        "attrs": attrs,
        "incomingEdges": edges,
        "outputsMetadata": [{
            "id": "0",
            "attrs": [
                { "key": "__tensor_tag", "value": key(graph, id) },
                { "key": "tensor_shape", "value": node.fact.to_string() },
            ],
        }],
    })
}

fn edge(graph: &Graph, source: ValueId, port: usize) -> Value {
    json!({ "sourceNodeId": key(graph, source), "sourceNodeOutputId": "0", "targetNodeInputId": port.to_string() })
}
