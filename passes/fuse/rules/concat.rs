//! Rules that move concatenations out of the way of fusion.

use super::rule::{FuseRule, Tree};
use super::spine::{CONCAT, QUANTIZE, ROPE};
use reflux_ir::op::{Concat, Op, Rope, Slice, axis_index};
use reflux_ir::pass::Mismatch;

/// `rope(concat(a, b), t) → concat(rope(a, t₀), rope(b, t₁))`, along the tokens: then each part is rotated where it is made.
pub const ROPE_OF_CONCAT: FuseRule = FuseRule {
    name: "rope-of-concat",
    pattern: "rope(concat(a, b), t) → concat(rope(a, slice(t)), rope(b, slice(t)))",
    spine: &[ROPE, CONCAT],
    rewrite: |classes, found| {
        let [rope, concat] = &found.levels[..] else { return Err(Mismatch::new("the rule needs two ops")) };
        let Op::Concat(Concat { axis: 1 }) = concat.op else {
            return Err(Mismatch::new("the rotated value is not a concatenation along its tokens"));
        };
        if rope.at != 0 {
            return Err(Mismatch::new("the concatenation is the table, not the rotated value"));
        }
        let mut start = 0;
        let mut part = |&id: &egg::Id| {
            let end = start + classes.fact(id).shape[1];
            let table = Tree::over(Slice { axis: 1, start, end }, vec![rope.operands[1]]);
            start = end;
            Tree::of(Rope {}, vec![Tree::Class(id), table])
        };
        let parts = concat.operands.iter().map(&mut part).collect();
        Ok(vec![Tree::of(Concat { axis: 1 }, parts)])
    },
};

/// `quantize(concat(a, b)) → concat(quantize(a), quantize(b))`, if rows stay whole: then each part is quantized where it is made.
pub const QUANTIZE_OF_CONCAT: FuseRule = FuseRule {
    name: "quantize-of-concat",
    pattern: "quantize(concat(a, b)) → concat(quantize(a), quantize(b)), if rows have a scale each and stay whole",
    spine: &[QUANTIZE, CONCAT],
    rewrite: |classes, found| {
        let [quantize, concat] = &found.levels[..] else {
            return Err(Mismatch::new("the rule needs two ops"));
        };
        let Op::Concat(Concat { axis }) = concat.op else {
            return Err(Mismatch::new("the rule needs a concat"));
        };
        let rank = classes.fact(quantize.operands[0]).shape.len();
        if !quantize.op.works_by_rows() || axis_index(axis, rank) + 1 == rank {
            return Err(Mismatch::new("the scale of a row is of all parts together"));
        }
        let part = |&id: &egg::Id| Tree::over(quantize.op.clone(), vec![id]);
        let parts = concat.operands.iter().map(part).collect();
        Ok(vec![Tree::of(Concat { axis }, parts)])
    },
};
