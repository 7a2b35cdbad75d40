//! Ops over all steps at once.

use reflux_ir::op::{Concat, Op, OpKind, Reshape, Slice, Transpose};
use reflux_ir::{Fact, Granularity, Graph, ValueId};

/// The op that computes `id` for each of `steps` rows of a new first axis, given which operands have that axis; `None`
/// if there is no such op, because it would mix rows.
///
/// For element-wise ops, operands of lower rank than the result must first be brought to its rank: see
/// [`aligned`].
pub fn batched(graph: &Graph, id: ValueId, is_batched: impl Fn(ValueId) -> bool, steps: usize) -> Option<Op> {
    let op = candidate(graph, id, &is_batched, steps)?;
    let result = &graph[id].fact;
    let all_steps = |operand: ValueId| {
        let fact = &graph[operand].fact;
        if !is_batched(operand) {
            return fact.clone();
        }
        let shape = aligned(&op, fact, result, steps).unwrap_or_else(|| with_steps(steps, &fact.shape));
        Fact { shape: shape.into(), ..fact.clone() }
    };
    let operands: Vec<Fact> = graph.operands(id).into_iter().map(all_steps).collect();
    let made = op.infer(&operands.iter().collect::<Vec<_>>()).ok()?;
    let expected = Fact { shape: with_steps(steps, &result.shape).into(), ..result.clone() };
    made.same_type(&expected).then_some(op)
}

fn candidate(graph: &Graph, id: ValueId, is_batched: impl Fn(ValueId) -> bool, steps: usize) -> Option<Op> {
    let node = &graph[id];
    let operands = graph.operands(id);
    let only_first = operands[1..].iter().all(|&operand| !is_batched(operand));
    match &node.op {
        op if op.kind() == OpKind::Elementwise => Some(op.clone()),
        op @ (Op::TimestepEmbedding(_) | Op::Dequantize(_)) => Some(op.clone()),
        op if op.kind() == OpKind::RowReduction && only_first => Some(op.clone()),
        op @ (Op::Linear(_) | Op::MatmulCodes(_)) if only_first => Some(op.clone()),
        // The product, and the quantized input that its scales are of.
        Op::Rescale(_) if operands[2..].iter().all(|&operand| !is_batched(operand)) => Some(node.op.clone()),
        // One scale for the tensor would become one for all steps.
        Op::Quantize(op) if op.scales.per != Granularity::Tensor => Some(node.op.clone()),
        Op::Reshape(op) => Some(Reshape { shape: with_steps(steps, &op.shape).into() }.into()),
        Op::Slice(op) => Some(Slice { axis: behind(op.axis), ..op.clone() }.into()),
        Op::Concat(op) if operands.iter().all(|&operand| is_batched(operand)) => {
            Some(Concat { axis: behind(op.axis) }.into())
        }
        Op::Transpose(op) => Some(
            Transpose { perm: std::iter::once(0).chain(op.perm.iter().map(|axis| axis + 1)).collect() }
                .into(),
        ),
        _ => None,
    }
}

/// The shape that a batched operand must have so that numpy's broadcasting keeps its steps apart: ones behind the
/// steps, up to the rank of the op's result. `None` if it has that shape.
pub fn aligned(op: &Op, operand: &Fact, result: &Fact, steps: usize) -> Option<Vec<usize>> {
    let missing = result.shape.len().checked_sub(operand.shape.len()).filter(|&missing| missing > 0)?;
    (op.kind() == OpKind::Elementwise).then(|| {
        let ones = std::iter::repeat_n(1, missing);
        std::iter::once(steps).chain(ones).chain(operand.shape.iter().copied()).collect()
    })
}

fn with_steps(steps: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(steps).chain(shape.iter().copied()).collect()
}

/// An axis counted from the front moves behind the steps; one counted from the back stays.
fn behind(axis: i64) -> i64 {
    if axis < 0 { axis } else { axis + 1 }
}
