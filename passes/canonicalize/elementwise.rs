//! Casts, and arithmetic with constants.

use super::views::same_as_operand;
use crate::constant;
use reflux_ir::DType;
use reflux_ir::op::{Binary, Op};
use reflux_ir::pass::{Mismatch, Rule};

pub const CAST_TO_SAME: Rule = Rule {
    name: "cast-to-same",
    pattern: "cast(x) → x, if the types are equal",
    roots: &["cast"],
    rewrite: |patch, root| same_as_operand(patch, root, "the types differ"),
};

pub const CAST_THERE_AND_BACK: Rule = Rule {
    name: "cast-there-and-back",
    pattern: "cast(cast(x, wide), narrow) → x, if x is narrow and wide holds every narrow number",
    roots: &["cast"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let wide = graph.operands(root)[0];
        if !matches!(graph[wide].op, Op::Cast(_)) {
            return Err(Mismatch::at(wide, "the operand is not a cast").into());
        }
        let x = graph.operands(wide)[0];
        let (narrow, between) = (graph[x].fact.dtype, graph[wide].fact.dtype);
        let is_exact = if narrow.is_float() { between == DType::F32 } else { narrow == DType::I8 };
        let is_exact = is_exact && narrow != between;
        if !is_exact || !graph[x].fact.same_type(&graph[root].fact) {
            return Err(Mismatch::at(
                wide,
                "the first cast rounds, or the second does not return to the first type",
            )
            .into());
        }
        patch.shunt(root, x);
        Ok(())
    },
};

pub const CONSTANT_ON_THE_RIGHT: Rule = Rule {
    name: "constant-on-the-right",
    pattern: "add(c, x) → add(x, c), and mul likewise",
    roots: &["add", "mul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let [a, b] = [graph.operands(root)[0], graph.operands(root)[1]];
        if constant(graph, a).is_none() || constant(graph, b).is_some() {
            return Err(Mismatch::new("the left operand is not a constant, or both are").into());
        }
        let (op, name, path) = (graph[root].op.clone(), graph[root].name.clone(), graph[root].path.clone());
        let swapped = patch.add(op, &[b, a], &name, path)?;
        patch.shunt(root, swapped);
        Ok(())
    },
};

pub const UNIT: Rule = Rule {
    name: "unit",
    // Not `x + 0`: of −0 that makes 0.
    pattern: "mul(x, 1), div(x, 1), sub(x, 0) → x",
    roots: &["mul", "div", "sub"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let unit = if graph[root].op == Op::from(Binary::Sub) { 0.0f64 } else { 1.0 };
        let right = graph.operands(root)[1];
        match constant(graph, right) {
            Some(value) if value.to_bits() == unit.to_bits() => {
                same_as_operand(patch, root, "the result is broadcast")
            }
            _ => Err(Mismatch::at(right, "the right operand is not the unit").into()),
        }
    },
};
