//! Which values a cache reuses, found by the shape of the graph and not by names.

use reflux_ir::op::{Binary, Op};
use reflux_ir::{Graph, Rate, ValueId};
use std::collections::HashSet;

/// Where the last blocks close their residual: of all `x + f(x)`, those from which a result is reached without passing
/// another. Nothing else of the blocks has to be carried for the rest of the step.
pub fn last_residuals(graph: &Graph) -> Vec<ValueId> {
    let residuals: HashSet<ValueId> = residuals(graph).into_iter().map(|residual| residual.sum).collect();
    let mut seen = HashSet::new();
    let mut last = Vec::new();
    let mut open: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        if residuals.contains(&id) { last.push(id) } else { open.extend(graph.operands(id)) }
    }
    in_order(graph, &last)
}

/// What every block adds to its residual: of `x + gate · u`, `u` where the gate is made without `x`, and of `x + u` all of
/// `u`.
pub fn residual_updates(graph: &Graph) -> Vec<ValueId> {
    let update = |Residual { stream, update, .. }: Residual| match graph[update].op {
        Op::Binary(Binary::Mul) => {
            let is_gated = |&factor: &ValueId| graph.depends_on(factor, stream);
            let factors: Vec<_> = graph.operands(update).into_iter().filter(is_gated).collect();
            if let [only] = factors[..] { only } else { update }
        }
        _ => update,
    };
    let updates: Vec<_> = residuals(graph).into_iter().map(update).collect();
    in_order(graph, &updates)
}

/// The results of attention modules: what is made of an attention and weights alone, its output projection if it has
/// one, at the last point before something else comes in.
pub fn attention_results(graph: &Graph) -> Vec<ValueId> {
    let mut module: HashSet<ValueId> = HashSet::new();
    for id in graph.order() {
        let operands = graph.operands(id);
        let mut made_of = operands.iter().filter(|&&operand| !graph.is_leaf(operand)).peekable();
        let is_pure = made_of.peek().is_some() && made_of.all(|operand| module.contains(operand));
        if matches!(graph[id].op, Op::Attention(_)) || is_pure {
            module.insert(id);
        }
    }
    let is_read_outside = |id: &ValueId| {
        graph.users(*id).any(|user| !module.contains(&user))
            || graph.outputs().iter().any(|out| out.value == *id)
    };
    let results: Vec<_> = module.iter().copied().filter(is_read_outside).collect();
    in_order(graph, &results)
}

/// What results are made of where `sites` are given.
pub fn needed_besides(graph: &Graph, sites: &[ValueId]) -> HashSet<ValueId> {
    let mut needed = HashSet::new();
    let mut open: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
    while let Some(id) = open.pop() {
        if !sites.contains(&id) && needed.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    needed
}

/// A sum `x + f(x)`.
struct Residual {
    sum: ValueId,
    stream: ValueId,
    update: ValueId,
}

/// Every sum of a value and something that a product makes of it, which changes from step to step, in program order.
fn residuals(graph: &Graph) -> Vec<Residual> {
    let residual = |sum: ValueId| {
        let node = &graph[sum];
        if node.op != Op::from(Binary::Add) || node.fact.rate < Rate::Latent {
            return None;
        }
        let [a, b] = [graph.operands(sum)[0], graph.operands(sum)[1]];
        let is_stream = |x, update| {
            x != update && graph[x].fact.same_type(&node.fact) && is_made_by_product(graph, update, x)
        };
        match (is_stream(a, b), is_stream(b, a)) {
            (true, _) => Some(Residual { sum, stream: a, update: b }),
            (_, true) => Some(Residual { sum, stream: b, update: a }),
            _ => None,
        }
    };
    graph.order().into_iter().filter_map(residual).collect()
}

/// Whether a product (or attention, or convolution) of `stream` is on the way to `update`. Element-wise work alone, as
/// in `n + n · scale`, makes no block.
fn is_made_by_product(graph: &Graph, update: ValueId, stream: ValueId) -> bool {
    let mut open = vec![update];
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if id == stream || !seen.insert(id) || !graph.depends_on(id, stream) {
            continue;
        }
        match graph[id].op {
            Op::Linear(_) | Op::Matmul(_) | Op::MatmulCodes(_) | Op::Attention(_) | Op::Conv2d(_) => {
                return true;
            }
            _ => open.extend(graph.operands(id)),
        }
    }
    false
}

fn in_order(graph: &Graph, values: &[ValueId]) -> Vec<ValueId> {
    let values: HashSet<_> = values.iter().collect();
    graph.order().into_iter().filter(|id| values.contains(id)).collect()
}
