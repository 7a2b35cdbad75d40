//! Common subexpressions: the same op over the same operands is computed once.

use indexmap::IndexMap;
use reflux_ir::op::Op;
use reflux_ir::pass::{Changed, Mismatch, PassContext, PassError, RuleInfo};
use reflux_ir::{Graph, Name, Patch, ValueId};
use std::collections::{BTreeSet, HashMap};

pub const RULE: RuleInfo =
    RuleInfo { name: "cse", pattern: "op(x), op(x) → op(x), the same op over the same operands once" };

/// Shares equal values, in program order. A value that all blocks of a stack compute moves in front of the first block and
/// loses its index, so that the blocks stay alike.
pub fn share(graph: &mut Graph, cx: &mut PassContext) -> Result<Changed, PassError> {
    cx.timed(RULE.name, |cx| share_all(graph, cx))
}

fn share_all(graph: &mut Graph, cx: &mut PassContext) -> Result<Changed, PassError> {
    // The values that the same op computes of equal operands, by the first of each operand's equals.
    let mut equal: IndexMap<(Op, Vec<ValueId>), Vec<ValueId>> = IndexMap::new();
    let mut first: HashMap<ValueId, ValueId> = HashMap::new();
    for id in graph.order() {
        if graph.is_op(id) {
            let operands = graph.operands(id).into_iter();
            let operands = operands.map(|operand| *first.get(&operand).unwrap_or(&operand)).collect();
            let values = equal.entry((graph[id].op.clone(), operands)).or_default();
            values.push(id);
            first.insert(id, values[0]);
        }
    }
    let tried = equal.len();
    let shared: Vec<_> = equal.into_values().filter(|values| values.len() > 1).collect();
    cx.report.count_all(RULE.name, tried - shared.len(), 0);
    let mut changed = Changed::No;
    for values in shared {
        // Their operands have been shared by now, unless the allowance left them.
        let operands = graph.operands(values[0]);
        let are_equal = values[1..].iter().all(|&value| graph.operands(value) == operands);
        if are_equal && cx.admit(RULE.name, || names(graph, &values)) {
            merge(graph, &values)?;
            changed = Changed::Yes;
        }
    }
    Ok(changed)
}

fn names(graph: &Graph, values: &[ValueId]) -> String {
    values.iter().map(|&id| format!("%{}", graph[id].name)).collect::<Vec<_>>().join(", ")
}

fn merge(graph: &mut Graph, values: &[ValueId]) -> Result<(), PassError> {
    let nodes = || values.iter().map(|&id| &graph[id]);
    let blocks: BTreeSet<_> = nodes().map(|node| node.name.split_index().map(|(_, index)| index)).collect();
    if blocks.len() == 1 {
        let mut patch = Patch::new(graph, RULE.name);
        values[1..].iter().for_each(|&value| patch.shunt(value, values[0]));
        return Ok(patch.apply()?);
    }
    let stem = |name: &Name| name.stem().to_owned();
    let name = nodes().map(|node| stem(&node.name)).min_by_key(String::len).expect("there are several");
    let path = nodes().map(|node| node.path.clone()).reduce(|a, b| a.common(&b)).expect("there are several");
    let (op, operands) = (graph[values[0]].op.clone(), graph.operands(values[0]));
    let mut patch = Patch::new(graph, RULE.name);
    patch.place_early();
    let new = patch.add(op, &operands, &Name::from(name), path)?;
    values.iter().for_each(|&value| patch.shunt(value, new));
    Ok(patch.apply()?)
}

/// Whether another value is equal to `value`, and if not, which is the nearest.
pub fn why(graph: &Graph, value: ValueId) -> Result<(), Mismatch> {
    let (op, operands) = (&graph[value].op, graph.operands(value));
    if !graph.is_op(value) {
        return Err(Mismatch::other_kind("it is not computed"));
    }
    let others = || graph.order().into_iter().filter(|&other| other != value);
    let alike: Vec<_> = others().filter(|&other| graph[other].op == *op).collect();
    let equal_operands = |other: ValueId| {
        graph.operands(other).iter().zip(&operands).filter(|(other, own)| other == own).count()
    };
    match alike.iter().copied().max_by_key(|&other| (equal_operands(other), std::cmp::Reverse(other))) {
        Some(other) if graph.operands(other) == operands => Ok(()),
        Some(other) => Err(Mismatch::at(other, "the nearest is the same op with other operands")),
        None => {
            let of_name = others().find(|&other| graph[other].op.name() == op.name());
            Err(match of_name {
                Some(other) => Mismatch::at(other, "the nearest has other attributes"),
                None => Mismatch::other_kind(format!("there is no other `{}`", op.name())),
            })
        }
    }
}
