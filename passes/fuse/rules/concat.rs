//! Rules that move concatenations out of the way of fusion.

use super::rule::{FuseRule, Tree};
use super::spine::{CONCAT, ROPE};
use reflux_ir::op::{Concat, Op, Rope, Slice};
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
