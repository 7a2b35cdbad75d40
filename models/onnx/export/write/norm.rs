//! Normalisations and reductions, in f32.

use super::{float, int, ints};
use crate::onnx::export::body::{Body, Value};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::Tensor;
use reflux_ir::Fact;
use reflux_ir::op::{AvgPool2d, GroupNorm, LayerNorm, MaxPool2d, Reduce, RmsNorm};

/// ONNX's norm needs weights: without any they are ones.
pub fn layer_norm(
    body: &mut Body,
    op: &LayerNorm,
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let x = body.wide(&operands[0])?;
    let columns = fact.shape.columns();
    let mut inputs = vec![x];
    match &operands[1..] {
        [] => inputs
            .push(body.constant(&format!("ones.{columns}"), Tensor::floats(&[columns], &vec![1.0; columns]))),
        parameters => {
            for parameter in parameters {
                inputs.push(body.wide(parameter)?);
            }
        }
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let y = body.node("LayerNormalization", &inputs, vec![int("axis", -1), float("epsilon", op.eps.0)]);
    body.narrowed(&y, fact)
}

/// The quotient is rounded before the weight.
pub fn rms_norm(body: &mut Body, op: &RmsNorm, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.wide(&operands[0])?;
    let (last, eps) = (body.ints("axes", &[-1]), body.float(op.eps.0 as f32));
    let square = body.node("Mul", &[&x, &x], Vec::new());
    let mean = body.node("ReduceMean", &[&square, &last], vec![int("keepdims", 1)]);
    let shifted = body.node("Add", &[&mean, &eps], Vec::new());
    let root = body.node("Sqrt", &[&shifted], Vec::new());
    let quotient = body.node("Div", &[&x, &root], Vec::new());
    let quotient = body.narrowed(&quotient, fact)?;
    let [quotient, weight] = [body.read(&quotient)?, body.read(&operands[1])?];
    let y = body.node("Mul", &[&quotient, &weight], Vec::new());
    Ok(body.made(y, fact))
}

pub fn group_norm(
    body: &mut Body,
    op: &GroupNorm,
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let [x, weight, bias] = [body.wide(&operands[0])?, body.wide(&operands[1])?, body.wide(&operands[2])?];
    let attributes = vec![float("epsilon", op.eps.0), int("num_groups", op.groups as i64)];
    let y = body.node("GroupNormalization", &[&x, &weight, &bias], attributes);
    body.narrowed(&y, fact)
}

pub fn softmax(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.wide(&operands[0])?;
    let y = body.node("Softmax", &[&x], vec![int("axis", -1)]);
    body.narrowed(&y, fact)
}

pub fn mean(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    over_last(body, "ReduceMean", operands, fact)
}

pub fn reduce(body: &mut Body, op: Reduce, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let name = match op {
        Reduce::Sum => "ReduceSum",
        Reduce::Amax => "ReduceMax",
    };
    over_last(body, name, operands, fact)
}

/// The last axis is gone afterwards.
fn over_last(body: &mut Body, op: &'static str, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let (x, last) = (body.wide(&operands[0])?, body.ints("axes", &[-1]));
    let y = body.node(op, &[&x, &last], vec![int("keepdims", 0)]);
    body.narrowed(&y, fact)
}

pub fn max_pool(body: &mut Body, op: &MaxPool2d, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    pool(body, "MaxPool", [op.kernel, op.stride], operands, fact)
}

pub fn avg_pool(body: &mut Body, op: &AvgPool2d, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    pool(body, "AveragePool", [op.kernel, op.stride], operands, fact)
}

fn pool(
    body: &mut Body,
    op: &'static str,
    [kernel, stride]: [usize; 2],
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let x = body.wide(&operands[0])?;
    let y = body.node(op, &[&x], vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2])]);
    body.narrowed(&y, fact)
}
