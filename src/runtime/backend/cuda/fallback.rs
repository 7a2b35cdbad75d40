//! The warning about ops that run on burn's kernels.

use super::plan::{ForeignOp, LaunchPlan};
use reflux_ir::op::{Op, OpKind};
use reflux_ir::{Graph, Machine, ValueId};
use std::collections::BTreeMap;

/// GFLOP/s of burn's products, whatever they multiply: a step of FLUX.1-dev at 1024² with all of its products there took 2.5 s with
/// weights of eight bits, and 3.3 s with int8 products, on an H100.
const PRODUCTS: u64 = 25_000;
/// How many times as long as the engine burn takes for what is bound by memory.
const OTHERS: u64 = 4;
/// What an op in between costs besides, in ns: what it reads and makes is copied, and both wait for each other.
const BETWEEN: u64 = 100_000;

/// What an op takes at least, in ns.
const LAUNCH: u64 = 1_500;

/// The most reasons that are listed.
const REASONS: usize = 3;

/// Which ops of `graph` run on burn's kernels under `plan`, if there are any: how many of each, why, about how much longer all
/// takes for that, and what to do.
pub fn fallback(graph: &Graph, plan: &LaunchPlan) -> Option<String> {
    let mut by_reason: BTreeMap<(&str, &str), Vec<&ForeignOp>> = BTreeMap::new();
    for op in plan.foreign() {
        by_reason.entry((graph[op.value].op.name(), &op.why)).or_default().push(op);
    }
    if by_reason.is_empty() {
        return None;
    }
    let count = plan.foreign().count();
    let is_counted = |id: &ValueId| !graph[*id].op.kind().is_free();
    let of_all = graph.ids().filter(is_counted).count();
    let mut reasons: Vec<_> = by_reason.into_iter().collect();
    reasons.sort_by_key(|(_, ops)| std::cmp::Reverse(ops.len()));
    let others: usize = reasons.iter().skip(REASONS).map(|(_, ops)| ops.len()).sum();
    let said = reasons.iter().take(REASONS).map(|((name, why), ops)| {
        format!("{} `{name}` (%{}{}: {why})", ops.len(), ops[0].name, if ops.len() > 1 { " …" } else { "" })
    });
    let mut said = said.collect::<Vec<_>>().join(", ");
    if others > 0 {
        said += &format!(" and {others} others");
    }
    let slower = slowdown(graph, plan.foreign().map(|op| op.value));
    Some(format!(
        "{count} of {of_all} ops have no kernel in the CUDA engine and run on burn's, which makes it about {slower} times as slow: \
         {said}; to keep it on the engine, compute in bf16: products of bf16, int8 and fp8 have kernels where rows are of a multiple of 16 numbers, and attention of heads of 64 or 128"
    ))
}

/// About how many times as long `graph` takes for running `foreign` on burn's kernels, by the model of an H100.
fn slowdown(graph: &Graph, foreign: impl Iterator<Item = ValueId>) -> String {
    let machine = Machine::named("h100").expect("there is a table of it");
    let added = foreign.map(|id| {
        let (op, own) = (&graph[id].op, machine.of_value(graph, id));
        let on_burn = if op.kind() == OpKind::Contraction || matches!(op, Op::Gemm(_)) {
            graph.cost(id).flops / PRODUCTS
        } else {
            own.saturating_mul(OTHERS)
        };
        on_burn.saturating_sub(own).saturating_add(BETWEEN)
    });
    // What depends on the weights alone takes no time in the model, but a launch here.
    let all = machine.of_graph(graph).max(LAUNCH.saturating_mul(graph.op_count() as u64)).max(1);
    let slower = all.saturating_add(added.fold(0, u64::saturating_add)) as f64 / all as f64;
    if slower < 10.0 { format!("{slower:.1}") } else { format!("{slower:.0}") }
}
