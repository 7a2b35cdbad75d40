//! What nothing reads any more.

mod narrow;
mod readers;

use reflux_ir::op::Op;
use reflux_ir::pass::{
    Answer, Changed, Exactness, Pass, PassContext, PassError, PassReport, Place, RuleInfo, counted,
};
use reflux_ir::{Graph, Name, Program, si};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const UNSCHEDULED_VARIANT: RuleInfo =
    RuleInfo { name: "unscheduled-variant", pattern: "a variant that no step runs → nothing" };
const UNREAD_OP: RuleInfo =
    RuleInfo { name: "unread-op", pattern: "an op that no result is made of → nothing" };
const UNREAD_INPUT: RuleInfo = RuleInfo {
    name: "unread-input",
    pattern: "an input of a stage that the stage does not read → nothing",
};
const UNREAD_PREPARED: RuleInfo =
    RuleInfo { name: "unread-prepared", pattern: "a prepared value that no stage reads → nothing" };
const UNREAD_CARRY: RuleInfo =
    RuleInfo { name: "unread-carry", pattern: "a carried value that no step reads → nothing" };

/// Drops what nothing reads, across stages: ops, inputs of stages, prepared and carried values, variants that the
/// schedule does not run; and carries of a value only what is read of it. Inputs of the program stay: they are its
/// interface.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dce {}

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let before = program.structural_hash();
        let carried = carried_bytes(program);
        loop {
            let hash = program.structural_hash();
            drop_variants(program, cx.report);
            narrow::narrow_carries(program, cx.report)?;
            program.stages_mut().for_each(|(_, graph)| drop_ops(graph, cx.report));
            drop_outputs(program, cx.report);
            if program.structural_hash() == hash {
                break;
            }
        }
        let left = carried_bytes(program);
        if carried > 0 {
            cx.report.note(format!(
                "{}B carried in {}, was {}B",
                si(left),
                counted(program.carries.len(), "value"),
                si(carried)
            ));
        }
        Ok((program.structural_hash() != before).into())
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![UNSCHEDULED_VARIANT, narrow::RULE, UNREAD_OP, UNREAD_INPUT, UNREAD_PREPARED, UNREAD_CARRY]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let is_input = matches!(place.graph[place.value].op, Op::Input(_));
        match rule {
            name if name == UNREAD_OP.name && !is_input => Some(readers::why(self, place)),
            name if name == UNREAD_INPUT.name && is_input => Some(readers::why(self, place)),
            _ => None,
        }
    }
}

/// Bytes of all carried values.
fn carried_bytes(program: &Program) -> u64 {
    program.carries.iter().map(|carry| carry.fact.bytes()).sum()
}

fn drop_variants(program: &mut Program, report: &mut PassReport) {
    let before = program.variants.len();
    let scheduled: HashSet<_> = program.schedule.iter().cloned().collect();
    program.variants.retain(|name, _| scheduled.contains(name));
    report.count_hits(UNSCHEDULED_VARIANT.name, before - program.variants.len());
}

fn drop_ops(graph: &mut Graph, report: &mut PassReport) {
    let before = graph.op_count();
    let _ = graph.remove_unread();
    report.count_hits(UNREAD_OP.name, before - graph.op_count());
    let inputs = graph.drop_unread_inputs();
    report.count_hits(UNREAD_INPUT.name, inputs.len());
}

/// Drops prepared and carried values that no stage reads.
fn drop_outputs(program: &mut Program, report: &mut PassReport) {
    let read: HashSet<Name> = program
        .stages()
        .flat_map(|(_, graph)| graph.inputs().iter().map(|&id| graph[id].name.clone()))
        .collect();
    let mut dropped = 0;
    for graph in program.prepares.values_mut() {
        dropped += graph.outputs().iter().filter(|output| !read.contains(&output.label)).count();
        graph.retain_outputs(|label| read.contains(label));
    }
    report.count_hits(UNREAD_PREPARED.name, dropped);
    program.prepares.retain(|_, graph| !graph.outputs().is_empty());
    let unread: HashSet<Name> =
        program.carries.iter().map(|carry| carry.name.clone()).filter(|name| !read.contains(name)).collect();
    program.carries.retain(|carry| !unread.contains(&carry.name));
    program.variants.values_mut().for_each(|graph| graph.retain_outputs(|label| !unread.contains(label)));
    report.count_hits(UNREAD_CARRY.name, unread.len());
}
