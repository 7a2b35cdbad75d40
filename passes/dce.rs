//! Removal of what nothing reads.

mod narrow;
mod readers;

use indexmap::IndexSet;
use reflux_ir::op::Op;
use reflux_ir::pass::{Answer, Changed, Exactness, Pass, PassContext, PassError, Place, RuleInfo, counted};
use reflux_ir::{Graph, Name, Patch, Program, si};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const UNSCHEDULED_VARIANT: RuleInfo =
    RuleInfo { name: "unscheduled-variant", pattern: "a variant that no step runs → nothing" };
const UNREAD_OP: RuleInfo =
    RuleInfo { name: "unread-op", pattern: "an op that no result depends on → nothing" };
const UNREAD_INPUT: RuleInfo = RuleInfo {
    name: "unread-input",
    pattern: "an input of a stage that the stage does not read → nothing",
};
const UNREAD_PREPARED: RuleInfo =
    RuleInfo { name: "unread-prepared", pattern: "a prepared value that no stage reads → nothing" };
const UNREAD_CARRY: RuleInfo =
    RuleInfo { name: "unread-carry", pattern: "a carried value that no step reads → nothing" };

/// Removes what nothing reads, across stages: ops, inputs of stages, prepared and carried values, variants that neither the
/// schedule names nor a probe chooses. Narrows a carried value to the slice that is read. Inputs of the program stay: they are its
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
        // Each is looked for, whether it finds something or not.
        self.rules().iter().for_each(|rule| cx.report.count_all(rule.name, 0, 0));
        let before = program.structural_hash();
        let carried = carried_bytes(program);
        loop {
            let hash = program.structural_hash();
            cx.timed(UNSCHEDULED_VARIANT.name, |cx| drop_variants(program, cx));
            cx.timed(narrow::RULE.name, |cx| narrow::narrow_carries(program, cx))?;
            for (_, graph) in program.stages_mut() {
                cx.timed(UNREAD_OP.name, |cx| drop_ops(graph, cx))?;
                cx.timed(UNREAD_INPUT.name, |cx| drop_inputs(graph, cx))?;
            }
            let read = read_inputs(program);
            cx.timed(UNREAD_PREPARED.name, |cx| drop_prepared(program, &read, cx))?;
            cx.timed(UNREAD_CARRY.name, |cx| drop_carries(program, &read, cx))?;
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
        let node = &place.graph[place.value];
        let is_input = matches!(node.op, Op::Input(_));
        let is_carry = is_input && place.program.is_carried(&node.name);
        match rule {
            name if name == narrow::RULE.name && is_carry => Some(narrow::why(place.program, &node.name)),
            name if name == UNREAD_CARRY.name && is_carry => Some(readers::why(self, place)),
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

/// Drops variants that no step runs: unscheduled probes, and then what only they choose among.
fn drop_variants(program: &mut Program, cx: &mut PassContext) {
    loop {
        let chosen = program.probes.values().flatten();
        let live: HashSet<_> = program.schedule.iter().chain(chosen).cloned().collect();
        let before = program.variants.len();
        program.retain_variants(|name| {
            live.contains(name) || !cx.admit(UNSCHEDULED_VARIANT.name, || format!("variant {name}"))
        });
        if program.variants.len() == before {
            return;
        }
    }
}

fn drop_ops(graph: &mut Graph, cx: &mut PassContext) -> Result<(), PassError> {
    let mut dropped = IndexSet::new();
    for id in graph.unread() {
        // What is kept is made of something.
        let is_free = graph.users(id).all(|user| dropped.contains(&user));
        if is_free && cx.admit(UNREAD_OP.name, || graph.line(id)) {
            dropped.insert(id);
        }
    }
    let mut patch = Patch::new(graph, UNREAD_OP.name);
    dropped.into_iter().for_each(|id| patch.remove(id));
    Ok(patch.apply()?)
}

fn drop_inputs(graph: &mut Graph, cx: &mut PassContext) -> Result<(), PassError> {
    let unread: Vec<_> = graph.inputs().iter().copied().filter(|&id| !graph.is_read(id)).collect();
    let mut patch = Patch::new(graph, UNREAD_INPUT.name);
    for id in unread {
        if cx.admit(UNREAD_INPUT.name, || patch.graph().line(id)) {
            patch.remove(id);
        }
    }
    Ok(patch.apply()?)
}

/// What the inputs of all stages are called.
fn read_inputs(program: &Program) -> HashSet<Name> {
    let inputs =
        program.stages().flat_map(|(_, graph)| graph.inputs().iter().map(|&id| graph[id].name.clone()));
    inputs.collect()
}

/// Drops prepared values that are none of the `read` inputs.
fn drop_prepared(program: &mut Program, read: &HashSet<Name>, cx: &mut PassContext) -> Result<(), PassError> {
    for graph in program.prepares.values_mut() {
        let mut patch = Patch::new(graph, UNREAD_PREPARED.name);
        patch.retain_outputs(|label| {
            read.contains(label) || !cx.admit(UNREAD_PREPARED.name, || format!("%{label}"))
        });
        patch.apply()?;
    }
    program.prepares.retain(|_, graph| !graph.outputs().is_empty());
    Ok(())
}

/// Drops carried values that are none of the `read` inputs.
fn drop_carries(program: &mut Program, read: &HashSet<Name>, cx: &mut PassContext) -> Result<(), PassError> {
    let names = program.carries.iter().map(|carry| &carry.name).filter(|name| !read.contains(*name));
    let unread: HashSet<Name> =
        names.filter(|name| cx.admit(UNREAD_CARRY.name, || format!("%{name}"))).cloned().collect();
    program.carries.retain(|carry| !unread.contains(&carry.name));
    for graph in program.variants.values_mut() {
        let mut patch = Patch::new(graph, UNREAD_CARRY.name);
        patch.retain_outputs(|label| !unread.contains(label));
        patch.apply()?;
    }
    Ok(())
}
