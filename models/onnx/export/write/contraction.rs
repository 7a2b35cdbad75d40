//! Products.

use super::codes::dequantize;
use super::{int, ints};
use crate::onnx::export::body::{Body, Value, element_of};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::{Attribute, ElementType, Tensor};
use reflux_ir::op::{Attention, Conv2d, ScoreBound};
use reflux_ir::{DType, Fact};

/// The weight is read as `[in, out]`, which is how `MatMul` wants it.
pub fn linear(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let (x, weight) = (body.read(&operands[0])?, body.transposed(&operands[1])?);
    let mut y = body.node("MatMul", &[&x, &weight], Vec::new());
    if let Some(bias) = operands.get(2) {
        let bias = body.read(bias)?;
        y = body.node("Add", &[&y, &bias], Vec::new());
    }
    Ok(body.made(y, fact))
}

pub fn matmul(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let [a, b] = [body.read(&operands[0])?, body.read(&operands[1])?];
    let y = body.node("MatMul", &[&a, &b], Vec::new());
    Ok(body.made(y, fact))
}

/// Scores and softmax are f32; the weights are rounded before they multiply the values. A bound of the scores is for kernels that
/// look for no maximum. Of codes, the numbers are multiplied, which are the same up to rounding.
pub fn attention(body: &mut Body, op: &Attention, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let perm = |perm: &[usize]| vec![ints("perm", perm)];
    let heads_first = [0, 2, 1, 3];
    let [q, k] = [numbers(body, &operands[0])?, numbers(body, &operands[1])?];
    let scale = body.float(op.scale.0 as f32);
    let q = body.node("Mul", &[&q, &scale], Vec::new());
    let q = body.node("Transpose", &[&q], perm(&heads_first));
    let k = body.node("Transpose", &[&k], perm(&[0, 2, 3, 1]));
    let mut scores = body.node("MatMul", &[&q, &k], Vec::new());
    if let Some(bias) = op.bias(operands) {
        let bias = body.wide(bias)?;
        scores = body.node("Add", &[&scores, &bias], Vec::new());
    }
    if op.causal {
        // −∞ above the diagonal, 0 elsewhere.
        let minus_infinity = Tensor::floats(&[1], &[f32::NEG_INFINITY]);
        let shape = body.node("Shape", &[&scores], vec![int("start", 2)]);
        let all = body.node("ConstantOfShape", &[&shape], vec![("value", Attribute::Tensor(minus_infinity))]);
        let one = body.index(1);
        let mask = body.node("Trilu", &[&all, &one], Vec::new());
        scores = body.node("Add", &[&scores, &mask], Vec::new());
    }
    let weights = body.node("Softmax", &[&scores], vec![int("axis", -1)]);
    let weights = body.cast(&weights, ElementType::F32, element_of(fact)?);
    let v = body.read(&operands[2])?;
    let v = body.node("Transpose", &[&v], perm(&heads_first));
    let y = body.node("MatMul", &[&weights, &v], Vec::new());
    let y = body.node("Transpose", &[&y], perm(&heads_first));
    Ok(body.made(y, fact))
}

/// The numbers of `x` in f32, which may be codes.
fn numbers(body: &mut Body, x: &Value) -> Result<String, Refusal> {
    if !x.fact.is_quantized() {
        return body.wide(x);
    }
    let wide = Fact::new(DType::F32, x.fact.shape.clone());
    let numbers = dequantize(body, std::slice::from_ref(x), &wide)?;
    body.read(&numbers)
}

pub fn score_bound(
    body: &mut Body,
    op: &ScoreBound,
    operands: &[Value],
    fact: &Fact,
) -> Result<Value, Refusal> {
    let (pairs, last) = (body.ints("shape", &[-1, 2]), body.ints("axes", &[-1]));
    let largest = |body: &mut Body, weights: &[Value]| -> Result<String, Refusal> {
        let mut of_all: Option<String> = None;
        for weight in weights {
            let weight = body.wide(weight)?;
            let size = body.node("Abs", &[&weight], Vec::new());
            of_all = Some(match of_all {
                Some(others) => body.node("Max", &[&others, &size], Vec::new()),
                None => size,
            });
        }
        let Some(of_all) = of_all else { return Err(Refusal("it bounds no scores".into())) };
        let by_pair = body.node("Reshape", &[&of_all, &pairs], Vec::new());
        Ok(body.node("ReduceMax", &[&by_pair, &last], vec![int("keepdims", 0)]))
    };
    let (queries, keys) = operands.split_at(op.queries);
    let (queries, keys) = (largest(body, queries)?, largest(body, keys)?);
    let products = body.node("Mul", &[&queries, &keys], Vec::new());
    let most = body.node("ReduceMax", &[&products, &last], vec![int("keepdims", 0)]);
    let [of_pairs, of_all] = op.shares(operands[0].fact.shape.columns());
    let of_pairs = body.float(of_pairs);
    let mut bound = body.node("Mul", &[&most, &of_pairs], Vec::new());
    if of_all > 0.0 {
        let [q, k] = [&queries, &keys]
            .map(|by_pair| body.node("ReduceMax", &[by_pair, &last], vec![int("keepdims", 0)]));
        let all = body.node("Mul", &[&q, &k], Vec::new());
        let of_all = body.float(of_all);
        let added = body.node("Mul", &[&all, &of_all], Vec::new());
        bound = body.node("Add", &[&bound, &added], Vec::new());
    }
    Ok(body.made(bound, fact))
}

/// In f32: before version 22 of ONNX's operators there are no convolutions in bf16.
pub fn conv2d(body: &mut Body, op: &Conv2d, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let inputs = operands.iter().map(|operand| body.wide(operand)).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attributes = vec![
        ints("kernel_shape", &operands[1].fact.shape[2..]),
        ints("pads", &[op.padding; 4]),
        ints("strides", &[op.stride; 2]),
        ints("dilations", &[op.dilation; 2]),
        int("group", op.groups as i64),
    ];
    let y = body.node("Conv", &inputs, attributes);
    body.narrowed(&y, fact)
}
