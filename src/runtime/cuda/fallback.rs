//! What is said of ops that run on burn's kernels.

use super::plan::{Foreign, Plan};
use reflux_ir::op::Op;
use reflux_ir::{Graph, Machine, ValueId};
use std::collections::BTreeMap;

/// How many times as long as the engine burn takes for a product, and for what is bound by memory, and what an op in between costs
/// besides, in ns: what it reads and makes is copied, and both wait for each other. A step of FLUX.1-dev with int8 products takes
/// burn 42 times as long on an H100.
const PRODUCT: u64 = 40;
const OTHER: u64 = 4;
const BETWEEN: u64 = 100_000;

/// So many reasons are said.
const REASONS: usize = 3;

/// Which ops of `graph` run on burn's kernels under `plan`, if there are any: how many of each, why, about how much longer all
/// takes for that, and what to do.
pub fn fallback(graph: &Graph, plan: &Plan) -> Option<String> {
    let mut by_reason: BTreeMap<(&str, &str), Vec<&Foreign>> = BTreeMap::new();
    for op in plan.foreign() {
        by_reason.entry((graph[op.value].op.name(), &op.why)).or_default().push(op);
    }
    if by_reason.is_empty() {
        return None;
    }
    let count = plan.foreign().count();
    let of_all = graph.ids().filter(|&id| !graph.is_leaf(id) && !graph[id].op.is_view()).count();
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
         {said}; run it in bf16 with the passes that come with the device, or change those ops"
    ))
}

/// About how many times as long `graph` takes for running `foreign` on burn's kernels, by the model of an H100.
fn slowdown(graph: &Graph, foreign: impl Iterator<Item = ValueId>) -> String {
    let machine = Machine::named("h100").expect("there is a table of it");
    let added = foreign.map(|id| {
        let times = match graph[id].op {
            Op::Linear(_) | Op::Matmul(_) | Op::Gemm(_) | Op::MatmulCodes(_) => PRODUCT,
            Op::Conv2d(_) | Op::Attention(_) => PRODUCT,
            _ => OTHER,
        };
        (machine.of_value(graph, id).saturating_mul(times - 1)).saturating_add(BETWEEN)
    });
    let all = machine.of_graph(graph).max(1);
    let slower = all.saturating_add(added.fold(0, u64::saturating_add)) as f64 / all as f64;
    if slower < 10.0 { format!("{slower:.1}") } else { format!("{slower:.0}") }
}
