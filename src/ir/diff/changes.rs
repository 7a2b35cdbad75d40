//! What becomes of each value between two programs.

use crate::text::line_of;
use crate::{Graph, Name, Program, Stage};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueChange {
    /// Only the second program has a value of this name.
    Added,
    /// Only the first has.
    Removed,
    /// Both have, but with another op, attribute, operand, type or module.
    Changed,
    /// The second program computes it here, the first in another stage.
    MovedIn,
    /// The first program computes it here, the second in another stage.
    MovedOut,
}

/// The ops that differ, by stage: first the stages of the first program, then those that only the second has. Inputs, weights and
/// numbers are no ops. A stage without differences has none.
pub fn value_changes(programs: [&Program; 2]) -> Vec<(Stage, BTreeMap<Name, ValueChange>)> {
    let moved = moved(programs);
    let mut stages: Vec<Stage> = Vec::new();
    for (stage, _) in programs.iter().flat_map(|program| program.stages()) {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    let changes = |stage: Stage| {
        let graphs = programs.map(|program| program.graph(&stage));
        let changes = of_stage(graphs, &moved);
        (stage, changes)
    };
    stages.into_iter().map(changes).collect()
}

/// The ops of a stage, as both programs have it, that differ; one may not have it. `moved` are the values that change stages.
pub(super) fn of_stage(graphs: [Option<&Graph>; 2], moved: &HashSet<Name>) -> BTreeMap<Name, ValueChange> {
    let [a, b] = graphs.map(|graph| graph.map(lines_by_name).unwrap_or_default());
    let mut changes = BTreeMap::new();
    for (&name, line) in &a {
        let change = match b.get(name) {
            Some(other) if other == line => continue,
            Some(_) => ValueChange::Changed,
            None if moved.contains(name) => ValueChange::MovedOut,
            None => ValueChange::Removed,
        };
        changes.insert(name.clone(), change);
    }
    for &name in b.keys().filter(|name| !a.contains_key(*name)) {
        let change = if moved.contains(name) { ValueChange::MovedIn } else { ValueChange::Added };
        changes.insert(name.clone(), change);
    }
    changes
}

/// The values that one stage of the first program computes, and another of the second.
pub(super) fn moved(programs: [&Program; 2]) -> HashSet<Name> {
    let [a, b] = programs.map(|program| {
        let mut stages: HashMap<Name, Vec<Stage>> = HashMap::new();
        for (stage, graph) in program.stages() {
            for id in graph.ids().filter(|&id| graph.is_op(id)) {
                stages.entry(graph[id].name.clone()).or_default().push(stage.clone());
            }
        }
        stages
    });
    let moves = |(name, stages): &(&Name, &Vec<Stage>)| match b.get(*name).map(Vec::as_slice) {
        Some([there]) => matches!(&stages[..], [here] if here != there),
        _ => false,
    };
    a.iter().filter(moves).map(|(name, _)| name.clone()).collect()
}

/// Every op as it prints outside repeated blocks.
fn lines_by_name(graph: &Graph) -> HashMap<&Name, String> {
    graph.ids().filter(|&id| graph.is_op(id)).map(|id| (&graph[id].name, line_of(graph, id))).collect()
}
