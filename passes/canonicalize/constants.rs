//! Folding of constants.

use super::elementwise::constant;
use reflux_ir::op::{Binary, Constant, Op};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{DType, Graph, ValueId};

pub const FOLD: Rule = Rule {
    name: "fold-constants",
    pattern: "op(c, d) → constant, for arithmetic and casts",
    roots: &["add", "sub", "mul", "div", "equal", "min", "max", "cast"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let value = value(graph, root).ok_or_else(|| Mismatch::new("an operand is not a constant"))?;
        let node = &graph[root];
        let (name, path) = (node.name.clone(), node.path.clone());
        let op = Constant { value: round(value, node.fact.dtype)?.into(), dtype: node.fact.dtype };
        let folded = patch.add(op, &[], &name, path)?;
        patch.shunt(root, folded);
        Ok(())
    },
};

/// The exact result, in f64, of operands that are rounded to their type as in the executor: for two f32 it rounds to the
/// result of f32 arithmetic.
fn value(graph: &Graph, id: ValueId) -> Option<f64> {
    let operand = |id: ValueId| round(constant(graph, id)?, graph[id].fact.dtype).ok();
    let operands: Vec<f64> = graph.operands(id).into_iter().map(operand).collect::<Option<_>>()?;
    match (&graph[id].op, &operands[..]) {
        (Op::Binary(op), &[a, b]) => Some(match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Equal => f64::from(a == b),
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            // Backends differ in the last bit of a power.
            Binary::Pow => return None,
        }),
        (Op::Cast(_), &[a]) => Some(a),
        _ => None,
    }
}

/// `value` as a constant of its type has it.
fn round(value: f64, dtype: DType) -> Result<f64, Mismatch> {
    let rounded = Constant { value: value.into(), dtype }.rounded();
    // Whether integers wrap or saturate depends on the backend.
    let fits = dtype.is_float() || (rounded.fract() == 0.0 && rounded.abs() <= 127.0);
    if rounded.is_finite() && fits {
        Ok(rounded)
    } else {
        Err(Mismatch::new("the result does not fit its type"))
    }
}
