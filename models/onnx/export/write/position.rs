//! Positions and times, and rotation by tables of angles.

use super::int;
use crate::onnx::export::body::{Body, Value};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::{ElementType, Tensor};
use reflux_ir::Fact;
use reflux_ir::op::{RopeTable, TimestepEmbedding};

pub fn timestep_embedding(
    body: &mut Body,
    op: &TimestepEmbedding,
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let (t, last) = (body.wide(&operands[0])?, body.ints("axes", &[-1]));
    let frequencies = op.frequencies();
    let frequencies = body.constant("frequencies", Tensor::floats(&[frequencies.len()], &frequencies));
    let t = body.node("Unsqueeze", &[&t, &last], Vec::new());
    let angles = body.node("Mul", &[&t, &frequencies], Vec::new());
    let [cos, sin] = ["Cos", "Sin"].map(|op| body.node(op, &[&angles], Vec::new()));
    let y = body.node("Concat", &[&cos, &sin], vec![int("axis", -1)]);
    Ok(body.made(y, fact))
}

/// Angles are computed in f64. Of positions that depend on no input the table is a constant of the model, see `leaves`.
pub fn rope_table(
    body: &mut Body,
    op: &RopeTable,
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let ids = body.read(&operands[0])?;
    let ids = body.cast(&ids, ElementType::F32, ElementType::F64);
    let (axes, frequencies): (Vec<i64>, Vec<f64>) =
        op.frequencies().into_iter().map(|(axis, frequency)| (axis as i64, frequency)).unzip();
    let axes = body.constant("axes_of_angles", Tensor::ints(&axes));
    let frequencies = body.constant("frequencies", Tensor::doubles(&frequencies));
    let ids = body.node("Gather", &[&ids, &axes], vec![int("axis", 1)]);
    let angles = body.node("Mul", &[&ids, &frequencies], Vec::new());
    let first = body.ints("axes", &[0]);
    let [cos, sin] = ["Cos", "Sin"].map(|op| {
        let values = body.node(op, &[&angles], Vec::new());
        let values = body.cast(&values, ElementType::F64, ElementType::F32);
        body.node("Unsqueeze", &[&values, &first], Vec::new())
    });
    let y = body.node("Concat", &[&cos, &sin], vec![int("axis", 0)]);
    Ok(body.made(y, fact))
}

pub fn rope(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let [x, table] = [body.wide(&operands[0])?, body.read(&operands[1])?];
    let (pairs, whole) = (body.ints("shape", &[0, 0, 0, -1, 2]), body.ints("shape", &[0, 0, 0, -1]));
    let (heads, last) = (body.ints("axes", &[1]), body.ints("axes", &[-1]));
    let indices = [body.index(0), body.index(1)];
    let x = body.node("Reshape", &[&x, &pairs], Vec::new());
    let [a, b] = indices.clone().map(|index| body.node("Gather", &[&x, &index], vec![int("axis", 4)]));
    // A row of the table is for all heads of its token.
    let [cos, sin] = indices.map(|index| {
        let part = body.node("Gather", &[&table, &index], vec![int("axis", 0)]);
        body.node("Unsqueeze", &[&part, &heads], Vec::new())
    });
    let product = |body: &mut Body, x: &str, y: &str| body.node("Mul", &[x, y], Vec::new());
    let [a_cos, b_sin] = [product(body, &a, &cos), product(body, &b, &sin)];
    let first = body.node("Sub", &[&a_cos, &b_sin], Vec::new());
    let [b_cos, a_sin] = [product(body, &b, &cos), product(body, &a, &sin)];
    let second = body.node("Add", &[&b_cos, &a_sin], Vec::new());
    let [first, second] = [first, second].map(|x| body.node("Unsqueeze", &[&x, &last], Vec::new()));
    let y = body.node("Concat", &[&first, &second], vec![int("axis", -1)]);
    let y = body.node("Reshape", &[&y, &whole], Vec::new());
    body.narrowed(&y, fact)
}
