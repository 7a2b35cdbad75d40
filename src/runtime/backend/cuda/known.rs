//! Values that depend on no input: the engine computes them once and treats them like weights.

use reflux_ir::op::Op;
use reflux_ir::{Graph, HostTensor, ValueId};

/// Whether the value of `id` depends on no input or weight, and is small.
pub fn is_known(graph: &Graph, id: ValueId) -> bool {
    match graph[id].op {
        Op::PositionIds(_) | Op::RelativeBuckets(_) => true,
        Op::RopeTable(_) => is_known(graph, graph.operands(id)[0]),
        _ => false,
    }
}

/// The value of `id`, if it depends on no input or weight.
pub fn known(graph: &Graph, id: ValueId) -> Option<HostTensor> {
    match &graph[id].op {
        Op::Constant(constant) => {
            Some(HostTensor::from_f32([], &[constant.value.0 as f32]).cast(constant.dtype))
        }
        Op::PositionIds(op) => Some(op.ids()),
        Op::RelativeBuckets(op) => Some(op.ids()),
        Op::RopeTable(op) => known(graph, graph.operands(id)[0]).map(|ids| op.table(&ids)),
        _ => None,
    }
}
