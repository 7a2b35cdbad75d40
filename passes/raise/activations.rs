//! Activations that exporters have taken apart.

use super::matching::{binary, factors, is_near, scaled, unary, with_number};
use crate::constant;
use reflux_ir::op::{Binary, Op, Unary};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{Graph, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

pub const SILU: Rule = Rule {
    name: "silu",
    pattern: "x · sigmoid(x) → silu(x), and x · sigmoid(1.702 x) → quick_gelu(x)",
    roots: &["mul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let [a, b] = binary(graph, root, Binary::Mul)?;
        let gate = |x: ValueId, gate: ValueId| Some((x, unary(graph, gate, Unary::Sigmoid).ok()?));
        let (x, inner) =
            gate(a, b).or_else(|| gate(b, a)).ok_or_else(|| Mismatch::new("no operand is a sigmoid"))?;
        let (of, factor) = scaled(graph, inner);
        let function = match () {
            () if inner == x => Unary::Silu,
            () if of == x && is_near(factor, 1.702) => Unary::QuickGelu,
            () => return Err(Mismatch::at(inner, "the sigmoid is of another value").into()),
        };
        Ok(patch.replace(root, function, &[x])?)
    },
};

pub const GELU: Rule = Rule {
    name: "gelu",
    pattern: "½ · x · (erf(x / √2) + 1) → gelu(x), in any order",
    roots: &["mul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (x, gate) = half_of(graph, root)?;
        let (of, factor) = scaled(graph, unary(graph, gate, Unary::Erf)?);
        if of != x || !is_near(factor, FRAC_1_SQRT_2) {
            return Err(Mismatch::at(gate, "the error function is not of x / √2").into());
        }
        Ok(patch.replace(root, Unary::Gelu, &[x])?)
    },
};

pub const GELU_TANH: Rule = Rule {
    name: "gelu-tanh",
    pattern: "½ · x · (tanh(√(2/π) · (x + 0.044715 x³)) + 1) → gelu_tanh(x), in any order",
    roots: &["mul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (x, gate) = half_of(graph, root)?;
        let (sum, factor) = scaled(graph, unary(graph, gate, Unary::Tanh)?);
        let [a, b] = binary(graph, sum, Binary::Add)?;
        let cubic = if a == x { b } else { a };
        let (cube, third) = factors(graph, cubic, &|_| false);
        let is_cube = match cube[..] {
            [power] => is_third_power(graph, power, x),
            _ => cube == [x; 3],
        };
        if ![a, b].contains(&x)
            || !is_near(factor, FRAC_2_PI.sqrt())
            || !is_near(third, 0.044_715)
            || !is_cube
        {
            return Err(Mismatch::at(sum, "tanh is not of √(2/π) · (x + 0.044715 x³)").into());
        }
        Ok(patch.replace(root, Unary::GeluTanh, &[x])?)
    },
};

/// `x³` as a power.
fn is_third_power(graph: &Graph, id: ValueId, x: ValueId) -> bool {
    matches!(binary(graph, id, Binary::Pow), Ok([base, power]) if base == x && constant(graph, power) == Some(3.0))
}

/// `x` and `g`, if `root` is `½ · x · (g + 1)`.
fn half_of(graph: &Graph, root: ValueId) -> Result<(ValueId, ValueId), Mismatch> {
    let gate = |id: ValueId| match with_number(graph, id, Binary::Add) {
        Ok((gate, 1.0)) if matches!(graph[gate].op, Op::Unary(Unary::Erf | Unary::Tanh)) => Some(gate),
        _ => None,
    };
    // `x` may be a product itself: what the gate is of tells where to stop.
    let (all, _) = factors(graph, root, &|_| false);
    let inside = all.iter().find_map(|&id| gate(id)).ok_or_else(|| Mismatch::new("no factor is a gate"))?;
    let is_read = |id: ValueId| graph.depends_on(inside, id) && id != root;
    let (parts, scale) = factors(graph, root, &is_read);
    match parts[..] {
        [a, b] if scale == 0.5 => match (gate(a), gate(b)) {
            (Some(gate), None) => Ok((b, gate)),
            (None, Some(gate)) => Ok((a, gate)),
            _ => Err(Mismatch::new("not one of its factors is a gate")),
        },
        _ => Err(Mismatch::new("it is not half of a value and its gate")),
    }
}
