//! The norms that queries and keys come from.

use reflux_ir::op::{Concat, Op, Slice, axis_index};
use reflux_ir::pass::Mismatch;
use reflux_ir::{Graph, Rate, ValueId};

/// The `rms_norm`s with weights of the checkpoint that the rows of `x` come from, each once; ops on the way leave the length of a row's pairs as
/// it is, if tables of rotations are what `takes_table` accepts.
pub fn norms(
    graph: &Graph,
    x: ValueId,
    takes_table: fn(&Op) -> bool,
    found: &mut Vec<ValueId>,
) -> Result<(), Mismatch> {
    let (op, operands) = (&graph[x].op, graph.operands(x));
    let shape = |id: ValueId| &graph[id].fact.shape;
    let is_last = |axis: i64| axis_index(axis, shape(x).len()) + 1 == shape(x).len();
    match op {
        Op::RmsNorm(norm) if norm.eps.0 >= 0.0 && graph[operands[1]].fact.rate == Rate::Weights => {
            if !found.contains(&x) {
                found.push(x);
            }
            return Ok(());
        }
        Op::RmsNorm(_) => return Err(Mismatch::at(x, "the norm's weight is not one of the checkpoint")),
        Op::Rope(_) if !takes_table(&graph[operands[1]].op) => {
            return Err(Mismatch::at(
                operands[1],
                "what it is rotated by is not made by `rope_table` here: bound attention before `hoist`",
            ));
        }
        Op::Rope(_) | Op::Cast(_) => {}
        Op::Reshape(_) if shape(x).last() == shape(operands[0]).last() => {}
        Op::Transpose(transpose) if transpose.perm.last() == Some(&(transpose.perm.len() - 1)) => {}
        Op::Slice(Slice { axis, .. }) if !is_last(*axis) => {}
        Op::Concat(Concat { axis }) if !is_last(*axis) => {
            return operands.into_iter().try_for_each(|part| norms(graph, part, takes_table, found));
        }
        _ => return Err(Mismatch::at(x, "it is not normalised by `rms_norm`")),
    }
    norms(graph, operands[0], takes_table, found)
}
