//! Ops that work element by element.

use super::int;
use crate::onnx::export::body::{Body, Value, element_of};
use crate::onnx::export::error::{Refusal, refuse};
use crate::onnx::export::message::{Attribute, ElementType};
use reflux_ir::op::{Binary, Unary};
use reflux_ir::{DType, Fact};

pub fn unary(body: &mut Body, function: Unary, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = body.wide(&operands[0])?;
    let one = |body: &mut Body, op| body.node(op, &[&x], Vec::new());
    let y = match function {
        Unary::Silu => {
            let sigmoid = one(body, "Sigmoid");
            body.node("Mul", &[&x, &sigmoid], Vec::new())
        }
        Unary::QuickGelu => {
            let factor = body.float(1.702);
            let scaled = body.node("Mul", &[&x, &factor], Vec::new());
            let sigmoid = body.node("Sigmoid", &[&scaled], Vec::new());
            body.node("Mul", &[&x, &sigmoid], Vec::new())
        }
        Unary::Gelu => one(body, "Gelu"),
        Unary::GeluTanh => body.node("Gelu", &[&x], vec![("approximate", Attribute::Text("tanh"))]),
        Unary::Exp => one(body, "Exp"),
        Unary::Tanh => one(body, "Tanh"),
        Unary::Sigmoid => one(body, "Sigmoid"),
        Unary::Erf => one(body, "Erf"),
        Unary::Sqrt => one(body, "Sqrt"),
        Unary::Log => one(body, "Log"),
        Unary::Sin => one(body, "Sin"),
        Unary::Cos => one(body, "Cos"),
    };
    body.narrowed(&y, fact)
}

pub fn binary(body: &mut Body, op: Binary, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let [a, b] = [body.read(&operands[0])?, body.read(&operands[1])?];
    let name = match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Min => "Min",
        Binary::Max => "Max",
        Binary::Equal => "Equal",
        Binary::Less => "Less",
        Binary::Pow => {
            let [a, b] = [body.wide(&operands[0])?, body.wide(&operands[1])?];
            let y = body.node("Pow", &[&a, &b], Vec::new());
            return body.narrowed(&y, fact);
        }
    };
    let mut y = body.node(name, &[&a, &b], Vec::new());
    if matches!(op, Binary::Equal | Binary::Less) {
        y = body.cast(&y, ElementType::Bool, element_of(fact)?);
    }
    Ok(body.made(y, fact))
}

/// To integers ONNX cuts off what is behind the point, so numbers are rounded before.
pub fn cast(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = &operands[0];
    if x.fact.is_coded() || fact.dtype.is_code() {
        refuse!("codes without scales are no numbers");
    }
    let to = element_of(fact)?;
    if !x.fact.dtype.is_float() || fact.dtype.is_float() {
        let name = body.read(x)?;
        let name = body.cast(&name, element_of(&x.fact)?, to);
        return Ok(body.made(name, fact));
    }
    let x = body.wide(x)?;
    let mut y = body.node("Round", &[&x], Vec::new());
    if fact.dtype == DType::I8 {
        let [least, greatest] = [fact.dtype.least(), fact.dtype.greatest()].map(|x| body.float(x as f32));
        y = body.node("Clip", &[&y, &least, &greatest], Vec::new());
    }
    let y = body.cast(&y, ElementType::F32, to);
    Ok(body.made(y, fact))
}

pub fn choose(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let condition = body.read(&operands[0])?;
    let to = ElementType::Bool.number();
    let condition = body.node("Cast", &[&condition], vec![int("to", to.into())]);
    let [a, b] = [body.read(&operands[1])?, body.read(&operands[2])?];
    let y = body.node("Where", &[&condition, &a, &b], Vec::new());
    Ok(body.made(y, fact))
}
