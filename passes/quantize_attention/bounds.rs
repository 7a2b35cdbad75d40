//! Bounds of scores of codes.

use super::QuantizeAttention;
use super::selection::RULE;
use reflux_ir::op::{Op, ScoreBound};
use reflux_ir::{Graph, Name, Patch, PatchError, Program, ValueId};
use std::collections::HashSet;

/// `bound`, of scores of the codes that the pass makes. Less its mean, a key is at most twice as long.
pub fn widened(bound: &ScoreBound, pass: &QuantizeAttention) -> ScoreBound {
    let factor = if pass.smooth_k { 2.0 } else { 1.0 };
    ScoreBound { scale: (bound.scale.0 * factor).into(), codes: Some(pass.scheme.dtype()), ..bound.clone() }
}

/// The results of `prepare` stages that are bounds of scores.
pub fn prepared(program: &Program) -> HashSet<Name> {
    let graphs = program.prepares.values();
    let bounds = graphs.flat_map(|graph| {
        let is_bound = |id: ValueId| matches!(graph[id].op, Op::ScoreBound(_));
        graph.outputs().iter().filter(move |output| is_bound(output.value)).map(|output| output.label.clone())
    });
    bounds.collect()
}

/// Makes the prepared bounds of attention over codes such that they hold. One that other attention reads too holds for that as well.
pub fn widen(program: &mut Program, pass: &QuantizeAttention) -> Result<(), PatchError> {
    let mut read = HashSet::new();
    for (_, graph) in program.stages() {
        read.extend(graph.ids().filter_map(|id| bound_of_codes(graph, id)));
    }
    for graph in program.prepares.values_mut() {
        let outputs = graph.outputs().iter().filter(|output| read.contains(&output.label));
        let values: HashSet<ValueId> = outputs.map(|output| output.value).collect();
        for id in graph.order().into_iter().filter(|id| values.contains(id)) {
            let Op::ScoreBound(bound @ ScoreBound { codes: None, .. }) = graph[id].op.clone() else {
                continue;
            };
            let weights = graph.operands(id);
            let mut patch = Patch::new(graph, RULE.name);
            patch.replace(id, widened(&bound, pass), &weights)?;
            patch.apply()?;
        }
    }
    Ok(())
}

/// The input that bounds the scores of `id`, if that is attention over codes.
fn bound_of_codes(graph: &Graph, id: ValueId) -> Option<Name> {
    let (Op::Attention(op), operands) = (&graph[id].op, graph.operands(id)) else { return None };
    let &bound = op.bound(&operands).filter(|_| graph[operands[0]].fact.is_quantized())?;
    matches!(graph[bound].op, Op::Input(_)).then(|| graph[bound].name.clone())
}
