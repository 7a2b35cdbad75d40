//! Compositions of slices, reshapes, transposes and concatenations.

use reflux_ir::op::{Concat, Op, Reshape, Slice, Transpose, axis_index};
use reflux_ir::pass::{Mismatch, Rule, RuleError};
use reflux_ir::{Graph, Patch, ValueId};

/// The only operand of `id`, and the op that made it.
fn inner(graph: &Graph, id: ValueId) -> (ValueId, &Op) {
    let x = graph.operands(id)[0];
    (x, &graph[x].op)
}

pub const SLICE_OF_SLICE: Rule = Rule {
    name: "slice-of-slice",
    pattern: "slice(slice(x, a..b), c..d) → slice(x, a+c..a+d), along one axis",
    roots: &["slice"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (operand, inner_op) = inner(graph, root);
        let (Op::Slice(outer), Op::Slice(inner)) = (&graph[root].op, inner_op) else {
            return Err(Mismatch::at(operand, "the operand is not a slice").into());
        };
        let rank = graph[operand].fact.shape.len();
        if axis_index(outer.axis, rank) != axis_index(inner.axis, rank) {
            return Err(Mismatch::new("the slices are along different axes").into());
        }
        let (start, end) = (inner.start + outer.start, inner.start + outer.end);
        let (op, x) = (Slice { axis: inner.axis, start, end }, graph.operands(operand)[0]);
        Ok(patch.replace(root, op, &[x])?)
    },
};

pub const SLICE_OF_CONCAT: Rule = Rule {
    name: "slice-of-concat",
    pattern: "slice(concat(…, x, …)) → slice(x), if it reads only x",
    roots: &["slice"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (operand, inner_op) = inner(graph, root);
        let (Op::Slice(slice), Op::Concat(concat)) = (&graph[root].op, inner_op) else {
            return Err(Mismatch::at(operand, "the operand is not a concatenation").into());
        };
        let along = axis_index(slice.axis, graph[operand].fact.shape.len());
        if along != axis_index(concat.axis, graph[operand].fact.shape.len()) {
            return Err(Mismatch::new("the slice is along another axis than the concatenation").into());
        }
        let mut offset = 0;
        for part in graph.operands(operand) {
            let extent = graph[part].fact.shape[along];
            if (offset..offset + extent).contains(&slice.start) && slice.end <= offset + extent {
                let op = Slice { axis: slice.axis, start: slice.start - offset, end: slice.end - offset };
                return Ok(patch.replace(root, op, &[part])?);
            }
            offset += extent;
        }
        Err(Mismatch::new("the slice reads several parts").into())
    },
};

pub const SLICE_OF_ALL: Rule = Rule {
    name: "slice-of-all",
    pattern: "slice(x, 0..n) → x, if x has extent n",
    roots: &["slice"],
    rewrite: |patch, root| same_as_operand(patch, root, "the slice does not cover the operand"),
};

pub const RESHAPE_OF_RESHAPE: Rule = Rule {
    name: "reshape-of-reshape",
    pattern: "reshape(reshape(x)) → reshape(x)",
    roots: &["reshape"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (operand, Op::Reshape(_)) = inner(graph, root) else {
            return Err(Mismatch::new("the operand is not a reshape").into());
        };
        let (shape, x) = (graph[root].fact.shape.clone(), graph.operands(operand)[0]);
        Ok(patch.replace(root, Reshape { shape }, &[x])?)
    },
};

pub const RESHAPE_TO_SAME: Rule = Rule {
    name: "reshape-to-same",
    pattern: "reshape(x) → x, if the shapes are equal",
    roots: &["reshape"],
    rewrite: |patch, root| same_as_operand(patch, root, "the shapes differ"),
};

pub const TRANSPOSE_OF_TRANSPOSE: Rule = Rule {
    name: "transpose-of-transpose",
    pattern: "transpose(transpose(x, p), q) → transpose(x, p∘q)",
    roots: &["transpose"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (operand, inner_op) = inner(graph, root);
        let (Op::Transpose(outer), Op::Transpose(inner)) = (&graph[root].op, inner_op) else {
            return Err(Mismatch::at(operand, "the operand is not a transpose").into());
        };
        let perm = outer.perm.iter().map(|&axis| inner.perm[axis]).collect();
        let x = graph.operands(operand)[0];
        Ok(patch.replace(root, Transpose { perm }, &[x])?)
    },
};

pub const TRANSPOSE_TO_SAME: Rule = Rule {
    name: "transpose-to-same",
    pattern: "transpose(x, [0, 1, …]) → x",
    roots: &["transpose"],
    rewrite: |patch, root| match &patch.graph()[root].op {
        Op::Transpose(op) if op.perm.is_sorted() => same_as_operand(patch, root, "the types differ"),
        _ => Err(Mismatch::new("the axes are permuted").into()),
    },
};

/// The most operands that a concatenation is given: each of those of a concatenation of itself would double them.
const MOST_PARTS: usize = 256;

pub const CONCAT_OF_ONE: Rule = Rule {
    name: "concat-of-one",
    pattern: "concat(x) → x, and concat(concat(a, b), c) → concat(a, b, c) along one axis",
    roots: &["concat"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let operands = graph.operands(root);
        if operands.len() == 1 {
            return same_as_operand(patch, root, "the types differ");
        }
        let rank = graph[root].fact.shape.len();
        let Op::Concat(outer) = &graph[root].op else { unreachable!("it is the root") };
        let flattens = |part: ValueId| matches!(&graph[part].op, Op::Concat(op) if axis_index(op.axis, rank) == axis_index(outer.axis, rank));
        if !operands.iter().any(|&part| flattens(part)) {
            return Err(Mismatch::new("no operand is a concatenation along that axis").into());
        }
        let parts =
            operands.iter().flat_map(|&part| if flattens(part) { graph.operands(part) } else { vec![part] });
        let (op, parts) = (Concat { axis: outer.axis }, parts.collect::<Vec<_>>());
        if parts.len() > MOST_PARTS {
            return Err(Mismatch::new(format!("it would have more than {MOST_PARTS} operands")).into());
        }
        Ok(patch.replace(root, op, &parts)?)
    },
};

/// Replaces `root` by its operand if that has the same type.
pub fn same_as_operand(patch: &mut Patch, root: ValueId, otherwise: &'static str) -> Result<(), RuleError> {
    let graph = patch.graph();
    let x = graph.operands(root)[0];
    if !graph[x].fact.same_type(&graph[root].fact) {
        return Err(Mismatch::new(otherwise).into());
    }
    patch.shunt(root, x);
    Ok(())
}
