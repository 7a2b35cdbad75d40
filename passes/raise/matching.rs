//! What patterns of several ops are made of.

use crate::constant;
use reflux_ir::op::{Binary, Op, Unary};
use reflux_ir::pass::Mismatch;
use reflux_ir::{Graph, ValueId};

/// Whether `number` is `wanted`, as exporters write it in f32.
pub fn is_near(number: f64, wanted: f64) -> bool {
    (number - wanted).abs() <= 1e-6 * wanted.abs()
}

/// The operand of `id`, if it is this function.
pub fn unary(graph: &Graph, id: ValueId, function: Unary) -> Result<ValueId, Mismatch> {
    match graph[id].op == Op::from(function) {
        true => Ok(graph.operands(id)[0]),
        false => Err(Mismatch::at(id, format!("it is not `{}`", Op::from(function).name()))),
    }
}

/// The operands of `id`, if it is this function.
pub fn binary(graph: &Graph, id: ValueId, function: Binary) -> Result<[ValueId; 2], Mismatch> {
    match (graph[id].op == Op::from(function), &graph.operands(id)[..]) {
        (true, &[a, b]) => Ok([a, b]),
        _ => Err(Mismatch::at(id, format!("it is not `{}`", Op::from(function).name()))),
    }
}

/// Both orders of two operands.
pub fn either([a, b]: [ValueId; 2]) -> [(ValueId, ValueId); 2] {
    [(a, b), (b, a)]
}

/// The operand and the number of `id`, if it is this function of both in any order.
pub fn with_number(graph: &Graph, id: ValueId, function: Binary) -> Result<(ValueId, f64), Mismatch> {
    let [a, b] = binary(graph, id, function)?;
    match (constant(graph, a), constant(graph, b)) {
        (None, Some(number)) => Ok((a, number)),
        (Some(number), None) => Ok((b, number)),
        _ => Err(Mismatch::at(id, "not one of its operands is a number")),
    }
}

/// `x` and the number by which it is multiplied or divided, as a factor; itself and 1, if it is not.
pub fn scaled(graph: &Graph, id: ValueId) -> (ValueId, f64) {
    if let Ok((x, factor)) = with_number(graph, id, Binary::Mul) {
        return (x, factor);
    }
    match binary(graph, id, Binary::Div).ok().and_then(|[x, by]| Some((x, constant(graph, by)?))) {
        Some((x, divisor)) => (x, 1.0 / divisor),
        None => (id, 1.0),
    }
}

/// The most factors of a product that are looked at.
const MOST_FACTORS: usize = 6;

/// The values whose product `id` is, and the number by which they are multiplied: products of products are taken apart, but for
/// `whole`.
pub fn factors(graph: &Graph, id: ValueId, whole: &dyn Fn(ValueId) -> bool) -> (Vec<ValueId>, f64) {
    let (mut factors, mut scale, mut rest) = (Vec::new(), 1.0, vec![id]);
    while let Some(id) = rest.pop() {
        match (constant(graph, id), binary(graph, id, Binary::Mul)) {
            (Some(number), _) => scale *= number,
            (None, Ok(operands)) if !whole(id) && factors.len() + rest.len() < MOST_FACTORS => {
                rest.extend(operands)
            }
            _ => factors.push(id),
        }
    }
    (factors, scale)
}
