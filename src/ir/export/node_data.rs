//! Model Explorer's node-data JSON, which colours a graph: by cost, or by what differs from another program.

use super::model_explorer::{GraphIds, Keys};
use crate::op::Op;
use crate::{Graph, Name, Program, Stage, ValueChange, ValueId, value_changes};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What `cost` says of each value as Model Explorer's node-data JSON: its FLOP, its bytes, its time on a machine.
pub fn node_data(program: &Program, cost: impl Fn(&Graph, ValueId) -> u64) -> Value {
    let (ids, mut data) = (GraphIds::of(program), Map::new());
    for (stage, graph) in program.stages() {
        let keys = Keys::of(graph);
        let results: Map<String, Value> = graph
            .order()
            .into_iter()
            .map(|id| (keys.get(id).to_owned(), cost(graph, id)))
            .filter(|(_, cost)| *cost > 0)
            .map(|(key, cost)| (key, json!({ "value": cost })))
            .collect();
        let gradient = json!([{ "stop": 0, "bgColor": "#ffffff" }, { "stop": 1, "bgColor": "#e8590c" }]);
        data.insert(ids.get(&stage), json!({ "results": results, "gradient": gradient }));
    }
    Value::Object(data)
}

/// What differs between two programs, as node-data JSON for the graph of each: of the first what is `removed`, of the second what is
/// `added`, and of both what is `changed` or computed in another stage, `moved`. Inputs, weights and numbers are added and removed
/// too. What is the same in both has no data.
///
/// Values of one name are nodes of one id, by which Model Explorer shows both programs side by side.
pub fn diff_data(programs: [&Program; 2]) -> [Value; 2] {
    let changes: HashMap<Stage, BTreeMap<Name, ValueChange>> = value_changes(programs).into_iter().collect();
    [[0, 1], [1, 0]].map(|[own, other]| {
        let (ids, mut data) = (GraphIds::of(programs[own]), Map::new());
        for (stage, graph) in programs[own].stages() {
            let leaves: HashSet<String> = match programs[other].graph(&stage) {
                Some(graph) => graph.ids().filter(|&id| !graph.is_op(id)).map(|id| leaf(graph, id)).collect(),
                None => HashSet::new(),
            };
            let keys = Keys::of(graph);
            let change = |id: ValueId| match graph.is_op(id) {
                true => changes.get(&stage)?.get(&graph[id].name).copied(),
                false if leaves.contains(&leaf(graph, id)) => None,
                false => Some(if own == 0 { ValueChange::Removed } else { ValueChange::Added }),
            };
            let result = |id: ValueId| {
                let (value, color) = shown(change(id)?);
                Some((keys.get(id).to_owned(), json!({ "value": value, "bgColor": color })))
            };
            let results: Map<String, Value> = graph.order().into_iter().filter_map(result).collect();
            let of_graph = json!({
                "results": results,
                "showExpandedSummaryOnGroupNode": true,
                "showLabelCountColumnsInChildrenStatsTable": true,
            });
            data.insert(ids.get(&stage), of_graph);
        }
        Value::Object(data)
    })
}

/// A value that is no op, with its type.
fn leaf(graph: &Graph, id: ValueId) -> String {
    match graph[id].op {
        Op::Constant(_) => graph.operand(id).to_string(),
        _ => format!("{}: {}", graph.operand(id), graph[id].fact),
    }
}

/// What is said of a change, and in which colour.
const fn shown(change: ValueChange) -> (&'static str, &'static str) {
    match change {
        ValueChange::Added => ("added", "#b2f2bb"),
        ValueChange::Removed => ("removed", "#ffc9c9"),
        ValueChange::Changed => ("changed", "#ffec99"),
        ValueChange::MovedIn | ValueChange::MovedOut => ("moved", "#a5d8ff"),
    }
}
