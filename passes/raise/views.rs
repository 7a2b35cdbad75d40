//! Views that exporters have taken apart.

use reflux_ir::op::{Op, Transpose};
use reflux_ir::pass::{Mismatch, Rule};

pub const TRANSPOSE_OF_MERGED: Rule = Rule {
    name: "transpose-of-merged",
    pattern: "reshape(transpose(reshape(x))) → transpose(x), of matrices whose leading axes are merged in between",
    roots: &["reshape"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let turned = graph.operands(root)[0];
        let (Op::Transpose(transpose), [merged]) = (&graph[turned].op, &graph.operands(turned)[..]) else {
            return Err(Mismatch::at(turned, "the operand is not a transpose").into());
        };
        let (Op::Reshape(_), [x]) = (&graph[*merged].op, &graph.operands(*merged)[..]) else {
            return Err(Mismatch::at(*merged, "what is transposed is not a reshape").into());
        };
        let shape = &graph[*x].fact.shape;
        let Some((leading, &[rows, columns])) = shape.split_last_chunk::<2>() else {
            return Err(Mismatch::at(*x, "it is not of matrices").into());
        };
        let swapped = [leading, &[columns, rows]].concat();
        let is_merged = *graph[*merged].fact.shape == [leading.iter().product(), rows, columns];
        if transpose.perm != [0, 2, 1] || !is_merged || *graph[root].fact.shape != swapped[..] {
            return Err(Mismatch::at(*merged, "other axes than leading ones are merged, or moved").into());
        }
        let rank = shape.len();
        let perm = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
        Ok(patch.replace(root, Transpose { perm }, &[*x])?)
    },
};
