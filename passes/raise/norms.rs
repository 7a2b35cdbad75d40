//! Norms that exporters have taken apart.

use super::matching::{binary, either, unary, with_number};
use crate::constant;
use reflux_ir::op::{Binary, LayerNorm, Op, Real, RmsNorm, Unary};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{Graph, ValueId};

pub const RMS_NORM: Rule = Rule {
    name: "rms-norm",
    pattern: "x / √(mean(x²) + eps) · w → rms_norm(x, w)",
    roots: &["mul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let [a, b] = binary(graph, root, Binary::Mul)?;
        let with = |weight: ValueId, normed: ValueId| {
            is_parameter(graph, weight, normed).then_some(())?;
            let (x, eps) = divided_by_root(graph, normed).ok()?;
            Some((x, weight, eps))
        };
        let (x, weight, eps) = with(a, b).or_else(|| with(b, a)).ok_or_else(|| {
            Mismatch::new(
                "it is not a value, divided by the root of its mean square, and a weight of its last extent",
            )
        })?;
        Ok(patch.replace(root, RmsNorm { eps }, &[x, weight])?)
    },
};

pub const LAYER_NORM: Rule = Rule {
    name: "layer-norm",
    pattern: "c / √(mean(c²) + eps) → layer_norm(x), if c = x − mean(x)",
    roots: &["mul", "div"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (centred, eps) = divided_by_root(graph, root)?;
        let [x, mean] = binary(graph, centred, Binary::Sub)?;
        if mean_of(graph, mean)? != x {
            return Err(Mismatch::at(mean, "what is subtracted is not the mean").into());
        }
        Ok(patch.replace(root, LayerNorm { eps }, &[x])?)
    },
};

pub const AFFINE: Rule = Rule {
    name: "affine-of-norm",
    pattern: "layer_norm(x) · w + b → layer_norm(x, w, b)",
    roots: &["add"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let parts = either(binary(graph, root, Binary::Add)?).into_iter().find_map(|(product, bias)| {
            let factors = either(binary(graph, product, Binary::Mul).ok()?);
            let (norm, weight) = factors.into_iter().find(|(norm, weight)| {
                matches!(graph[*norm].op, Op::LayerNorm(_))
                    && graph.operands(*norm).len() == 1
                    && [*weight, bias].iter().all(|&parameter| is_parameter(graph, parameter, *norm))
            })?;
            Some((norm, weight, bias))
        });
        let (norm, weight, bias) = parts.ok_or_else(|| {
            Mismatch::new("it is not a norm without parameters, times and plus something of its last extent")
        })?;
        let (op, x) = (graph[norm].op.clone(), graph.operands(norm)[0]);
        Ok(patch.replace(root, op, &[x, weight, bias])?)
    },
};

/// Whether `id` is a vector of the last extent of `x`, of its type.
fn is_parameter(graph: &Graph, id: ValueId, x: ValueId) -> bool {
    let (own, fact) = (&graph[id].fact, &graph[x].fact);
    own.dtype == fact.dtype && own.shape.len() == 1 && own.shape.last() == fact.shape.last()
}

/// `x` and eps, if `id` is `x / √(mean(x²) + eps)`: divided, or multiplied by the reciprocal.
fn divided_by_root(graph: &Graph, id: ValueId) -> Result<(ValueId, Real), Mismatch> {
    let (x, root) = match binary(graph, id, Binary::Div) {
        Ok([x, root]) => (x, root),
        Err(_) => {
            let [a, b] = binary(graph, id, Binary::Mul)?;
            let divisor = |id: ValueId| match binary(graph, id, Binary::Div) {
                Ok([one, divisor]) if constant(graph, one) == Some(1.0) => Some(divisor),
                _ => None,
            };
            let found = divisor(b).map(|root| (a, root)).or_else(|| divisor(a).map(|root| (b, root)));
            found.ok_or_else(|| Mismatch::at(id, "no factor is a reciprocal"))?
        }
    };
    let (variance, eps) = with_number(graph, unary(graph, root, Unary::Sqrt)?, Binary::Add)?;
    let square = mean_of(graph, variance)?;
    match binary(graph, square, Binary::Mul) {
        Ok([a, b]) if a == b && a == x && eps >= 0.0 => Ok((x, Real(eps))),
        _ => Err(Mismatch::at(
            square,
            "the mean is not of the square of what is divided, or what is added is negative",
        )),
    }
}

/// `x`, if `id` is the mean of its last axis, which stays as an extent of 1.
fn mean_of(graph: &Graph, id: ValueId) -> Result<ValueId, Mismatch> {
    let not = || Mismatch::at(id, "it is not the mean of a last axis");
    let Op::Reshape(_) = graph[id].op else { return Err(not()) };
    let mean = graph.operands(id)[0];
    let Op::Mean(_) = graph[mean].op else { return Err(not()) };
    let x = graph.operands(mean)[0];
    let (own, shape) = (&graph[id].fact.shape, &graph[x].fact.shape);
    let stays = own.len() == shape.len()
        && own.last() == Some(&1)
        && own[..own.len() - 1] == shape[..shape.len() - 1];
    if stays && graph[id].fact.dtype == graph[x].fact.dtype { Ok(x) } else { Err(not()) }
}
