//! The same elements in another place, or under another shape.

use super::{int, ints};
use crate::onnx::export::body::{Body, Value};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::{Attribute, Tensor};
use reflux_ir::Fact;
use reflux_ir::op::{Concat, Slice, Transpose, Upsample, axis_index};

pub fn reshape(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.read(&operands[0])?;
    let shape: Vec<i64> = fact.shape.iter().map(|&extent| extent as i64).collect();
    let shape = body.ints("shape", &shape);
    let y = body.node("Reshape", &[&x, &shape], Vec::new());
    Ok(body.made(y, fact))
}

pub fn transpose(body: &mut Body, op: &Transpose, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.read(&operands[0])?;
    let y = body.node("Transpose", &[&x], vec![ints("perm", &op.perm)]);
    Ok(body.made(y, fact))
}

pub fn concat(body: &mut Body, op: &Concat, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let axis = axis_index(op.axis, fact.shape.len()) as i64;
    let joined = |body: &mut Body, parts: Vec<String>| {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        body.node("Concat", &parts, vec![int("axis", axis)])
    };
    if !fact.is_quantized() {
        let parts = operands.iter().map(|operand| body.read(operand)).collect::<Result<_, _>>()?;
        let y = joined(body, parts);
        return Ok(body.made(y, fact));
    }
    let codes = operands.iter().map(|operand| body.codes(operand)).collect::<Result<_, _>>()?;
    let scales = operands.iter().map(|operand| body.scales(operand)).collect();
    let [codes, scales] = [joined(body, codes), joined(body, scales)];
    Ok(body.coded(codes, scales, fact))
}

pub fn slice(body: &mut Body, op: &Slice, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.read(&operands[0])?;
    let y = part(body, &x, axis_index(op.axis, fact.shape.len()), op.start, op.end);
    Ok(body.made(y, fact))
}

/// Elements `start..end` of `x` along `axis`.
pub fn part(body: &mut Body, x: &str, axis: usize, start: usize, end: usize) -> String {
    let starts = body.ints("starts", &[start as i64]);
    let ends = body.ints("ends", &[end as i64]);
    let axes = body.ints("axes", &[axis as i64]);
    body.node("Slice", &[x, &starts, &ends, &axes], Vec::new())
}

pub fn upsample(body: &mut Body, op: &Upsample, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.read(&operands[0])?;
    let factor = op.factor as f32;
    let scales =
        body.constant(&format!("scales.{factor}"), Tensor::floats(&[4], &[1.0, 1.0, factor, factor]));
    let text = |name, text| (name, Attribute::Text(text));
    let attributes = vec![
        text("mode", "nearest"),
        text("coordinate_transformation_mode", "asymmetric"),
        text("nearest_mode", "floor"),
    ];
    // The second input is a region for another mode.
    let y = body.node("Resize", &[&x, "", &scales], attributes);
    Ok(body.made(y, fact))
}
