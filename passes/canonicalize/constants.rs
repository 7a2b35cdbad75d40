//! Folding of constants.

use crate::constant;
use reflux_ir::op::{Binary, Constant, Op, Operator};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{DType, Graph, ValueId};

/// All arithmetic, and casts.
const ROOTS: [&str; Binary::NAMES.len() + 1] = {
    let mut roots = ["cast"; Binary::NAMES.len() + 1];
    let mut at = 0;
    while at < Binary::NAMES.len() {
        roots[at] = Binary::NAMES[at];
        at += 1;
    }
    roots
};

pub const FOLD: Rule = Rule {
    name: "fold-constants",
    pattern: "op(c, d) → constant, for arithmetic and casts",
    roots: &ROOTS,
    rewrite: |patch, root| {
        let graph = patch.graph();
        let value = value(graph, root)?;
        let node = &graph[root];
        let (name, path) = (node.name.clone(), node.path.clone());
        let op = Constant::of(round(value, node.fact.dtype)? as f32, node.fact.dtype);
        let folded = patch.add(op, &[], &name, path)?;
        patch.shunt(root, folded);
        Ok(())
    },
};

/// The exact result, in f64, for operands rounded to their type, as the executor has them. Rounded to f32, the result of two
/// f32 operands is the one that f32 arithmetic gives.
fn value(graph: &Graph, id: ValueId) -> Result<f64, Mismatch> {
    let operand = |id: ValueId| round(constant(graph, id)?, graph[id].fact.dtype).ok();
    let operands: Option<Vec<f64>> = graph.operands(id).into_iter().map(operand).collect();
    let operands = operands.ok_or_else(|| Mismatch::new("an operand is not a constant"))?;
    let exact = match (&graph[id].op, &operands[..]) {
        (Op::Binary(op), &[a, b]) => op.of(a, b),
        (Op::Cast(_), &[a]) => Some(a),
        _ => None,
    };
    exact.ok_or_else(|| Mismatch::new("its last bit depends on the backend"))
}

/// `value` rounded as a constant of its type is.
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
