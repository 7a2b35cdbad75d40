//! The warning about ops that run on burn's kernels.

use super::plan::{ForeignOp, LaunchPlan};
use reflux_ir::op::{Op, OpKind};
use reflux_ir::{Graph, Machine, ValueId};
use std::collections::BTreeMap;

/// GFLOP/s of burn's products, of any type. Measured on an H100: a step of 74 TFLOP (FLUX.1-dev at 1024²) with all products
/// on burn took 2.5 s with weights of eight bits, and 3.3 s with int8 products.
const PRODUCTS: u64 = 25_000;
/// How many times as long as the engine burn takes for ops that are bound by memory.
const OTHERS: u64 = 4;
/// The additional time of an op on burn, in ns: its operands and its result are copied, and engine and burn wait for each
/// other.
const BETWEEN: u64 = 100_000;

/// The least time of an op, in ns.
const LAUNCH: u64 = 1_500;

/// The most reasons that are listed.
const REASONS: usize = 3;

/// The warning about ops of `graph` that run on burn's kernels under `plan`, if there are any: how many of each, why, about
/// how much slower the graph becomes, and what to do.
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
        said += &format!(" and {others} more");
    }
    let slower = slowdown(graph, plan.foreign().map(|op| op.value));
    // Of other ops there is no type that has a kernel.
    let advice = match plan.foreign().any(|op| is_product(&graph[op.value].op)) {
        true => {
            "; to keep all on the engine, compute in bf16: it has kernels for products of bf16, int8 and fp8 whose rows have a \
             multiple of 16 numbers, and for attention with heads of 64 or 128"
        }
        false => "",
    };
    Some(format!(
        "the CUDA engine has no kernel for {count} of {of_all} ops; burn's kernels compute them, which {slower}: {said}{advice}"
    ))
}

fn is_product(op: &Op) -> bool {
    op.kind() == OpKind::Contraction || matches!(op, Op::Gemm(_))
}

/// About how much longer `graph` takes with `foreign` on burn's kernels, by the cost table of an H100.
fn slowdown(graph: &Graph, foreign: impl Iterator<Item = ValueId>) -> String {
    let machine = Machine::usual();
    let added = foreign.map(|id| {
        let (op, own) = (&graph[id].op, machine.of_value(graph, id));
        let on_burn =
            if is_product(op) { graph.cost(id).flops / PRODUCTS } else { own.saturating_mul(OTHERS) };
        on_burn.saturating_sub(own).saturating_add(BETWEEN)
    });
    // Ops that depend only on weights take no time in the cost table, but a launch here.
    let all = machine.of_graph(graph).max(LAUNCH.saturating_mul(graph.op_count() as u64)).max(1);
    let added = added.fold(0, u64::saturating_add);
    let slower = all.saturating_add(added) as f64 / all as f64;
    let slower = if slower < 10.0 { format!("{slower:.1}") } else { format!("{slower:.0}") };
    format!("takes about {:.1} ms more, {slower} times as long", added as f64 / 1e6)
}
