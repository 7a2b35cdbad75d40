//! Products of matrices.

use super::Group;
use super::functions::with;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value};
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Linear, Matmul, Transpose};

pub const OPS: Group = &[("Gemm", gemm), ("MatMul", matmul)];

fn matmul<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (a, b) = (at.input(0)?, at.input(1)?);
    let element = at.element(&a);
    let (a_shape, b_shape) = (at.shape(&a), at.shape(&b));
    let x = at.computed_of(&a)?;
    // A weight on the right is a Linear's, which reads it by rows.
    if let (Value::Tensor(name, tensor), [_, _], [_, ..]) = (&b, &b_shape[..], &a_shape[..]) {
        let weight = at.weight(name, tensor, true)?;
        let value = at.add(Linear {}, &[x, weight])?;
        return at.one(value, element);
    }
    let y = at.computed_of(&b)?;
    if a_shape.is_empty() || b_shape.is_empty() {
        refuse!("it multiplies a number by a matrix");
    }
    // A vector is a row on the left, and a column on the right; that axis is gone afterwards.
    let x = if a_shape.len() == 1 { at.reshaped(x, &[1, a_shape[0]])? } else { x };
    let y = if b_shape.len() == 1 { at.reshaped(y, &[b_shape[0], 1])? } else { y };
    let mut value = at.add(Matmul {}, &[x, y])?;
    let mut shape = at.fact(value).shape.to_vec();
    if b_shape.len() == 1 {
        shape.pop();
    }
    if a_shape.len() == 1 {
        shape.remove(shape.len() - if b_shape.len() == 1 { 1 } else { 2 });
    }
    value = at.reshaped(value, &shape)?;
    at.one(value, element)
}

/// `alpha · A · B + beta · C`, with A and B transposed if asked for.
fn gemm<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (a, b) = (at.input(0)?, at.input(1)?);
    let element = at.element(&a);
    let [alpha, beta] = ["alpha", "beta"].map(|name| at.float(name, 1.0));
    let [is_a_transposed, is_b_transposed] = ["transA", "transB"].map(|name| at.int(name, 0) != 0);
    let mut x = at.computed_of(&a)?;
    if is_a_transposed {
        x = transposed(at, x)?;
    }
    let weight = match &b {
        Value::Tensor(name, tensor) if tensor.shape.len() == 2 => {
            at.weight(name, tensor, !is_b_transposed)?
        }
        _ => {
            let b = at.computed_of(&b)?;
            if is_b_transposed { b } else { transposed(at, b)? }
        }
    };
    let out = at.fact(weight).shape.first().copied().unwrap_or(0);
    let bias = at.optional(2).filter(|_| beta != 0.0);
    // The bias of a Linear is a vector, and not scaled.
    let is_bias = |shape: &[usize]| alpha == 1.0 && beta == 1.0 && shape == [out];
    if let Some(bias) = bias.clone().filter(|bias| is_bias(&at.shape(bias))) {
        let bias = at.computed_of(&bias)?;
        let value = at.add(Linear {}, &[x, weight, bias])?;
        return at.one(value, element);
    }
    let mut value = at.add(Linear {}, &[x, weight])?;
    if alpha != 1.0 {
        value = with(at, Binary::Mul, value, alpha.into())?;
    }
    if let Some(bias) = bias {
        let mut bias = at.operand(&bias)?;
        if beta != 1.0 {
            bias = with(at, Binary::Mul, bias, beta.into())?;
        }
        value = at.add(Binary::Add, &[value, bias])?;
    }
    at.one(value, element)
}

fn transposed(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    match at.fact(x).shape.len() {
        2 => at.add(Transpose { perm: vec![1, 0] }, &[x]),
        rank => refuse!("it transposes a tensor of {rank} axes as a matrix"),
    }
}
