//! Look-ups.

use super::int;
use crate::onnx::export::body::{Body, Value};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::ElementType;
use reflux_ir::Fact;

pub fn embedding(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let [ids, table] = [body.read(&operands[0])?, body.read(&operands[1])?];
    let y = body.node("Gather", &[&table, &ids], vec![int("axis", 0)]);
    Ok(body.made(y, fact))
}

pub fn argmax(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.read(&operands[0])?;
    let y = body.node("ArgMax", &[&x], vec![int("axis", -1), int("keepdims", 0)]);
    let y = body.cast(&y, ElementType::I64, ElementType::I32);
    Ok(body.made(y, fact))
}

pub fn select(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let [x, index] = [body.read(&operands[0])?, body.read(&operands[1])?];
    let leading = operands[1].fact.shape.len();
    let y = match leading {
        0 => body.node("Gather", &[&x, &index], vec![int("axis", 0)]),
        // One entry of each of the leading axes' tensors.
        _ => {
            let index = body.cast(&index, ElementType::I32, ElementType::I64);
            let last = body.ints("axes", &[-1]);
            let index = body.node("Unsqueeze", &[&index, &last], Vec::new());
            body.node("GatherND", &[&x, &index], vec![int("batch_dims", leading as i64)])
        }
    };
    Ok(body.made(y, fact))
}
