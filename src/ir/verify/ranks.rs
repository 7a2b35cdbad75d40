//! What differs between the devices of a sharded program: invariants 17 and 18.

use super::Violation;
use crate::text::line_of;
use crate::{Graph, Name, Op, Program, Stage, ValueId};
use std::collections::HashSet;

/// Checks that all ops mean the same devices, and that nothing which must be the same on all of them can differ.
pub(super) fn check(program: &Program, violations: &mut Vec<Violation>) {
    let Some(devices) = program.devices() else { return };
    let mut report = |stage: &Stage, graph: &Graph, id: ValueId, message: String| {
        let op = Some((line_of(graph, id), graph[id].path.clone()));
        violations.push(Violation { stage: Some(stage.clone()), op, message });
    };
    let shared = differing_names(program);
    for (stage, graph) in program.stages() {
        let differing = differing_values(graph, &shared);
        for id in graph.ids() {
            match &graph[id].op {
                op if op.devices().is_some_and(|own| own != devices) => {
                    report(&stage, graph, id, format!("another op of the program is for {devices} devices"));
                }
                Op::Shard(_) if differing.contains(&graph.operands(id)[0]) => {
                    let whole = graph.operand(graph.operands(id)[0]);
                    let message =
                        format!("{whole} differs from device to device: only what all have can be divided");
                    report(&stage, graph, id, message);
                }
                _ => {}
            }
        }
        let is_result = |label: &Name| matches!(stage, Stage::Variant(_)) && !program.is_carried(label);
        for output in graph.outputs().iter().filter(|output| is_result(&output.label)) {
            if differing.contains(&output.value) {
                let message = format!("the result `%{}` differs from device to device", output.label);
                report(&stage, graph, output.value, format!("{message}; gather it first"));
            }
        }
    }
}

/// The prepared and carried values that differ from device to device.
fn differing_names(program: &Program) -> HashSet<&Name> {
    let mut names = HashSet::new();
    loop {
        let known = names.len();
        for (_, graph) in program.stages() {
            let differing = differing_values(graph, &names);
            let outputs = graph.outputs().iter().filter(|output| differing.contains(&output.value));
            names.extend(outputs.map(|output| &output.label));
        }
        // What is carried may reach the stage that makes it in the next step.
        if names.len() == known {
            return names;
        }
    }
}

/// The values of `graph` that differ from device to device, if its inputs called `names` do.
fn differing_values(graph: &Graph, names: &HashSet<&Name>) -> HashSet<ValueId> {
    let mut differing = HashSet::new();
    for id in graph.order() {
        let differs = match &graph[id].op {
            Op::Input(_) => names.contains(&graph[id].name),
            Op::Shard(_) | Op::AllToAll(_) => true,
            Op::AllGather(_) => false,
            _ => graph.operands(id).iter().any(|operand| differing.contains(operand)),
        };
        if differs {
            differing.insert(id);
        }
    }
    differing
}
