//! Fused ops: their formulas term by term, in f32.

use super::layout::part;
use super::{int, write};
use crate::onnx::export::body::{Body, Value, element_of};
use crate::onnx::export::error::Refusal;
use crate::onnx::export::message::ElementType;
use reflux_ir::Fact;
use reflux_ir::op::{Arg, Body as Formula, Gemm, Op, Rowwise, Term};

pub fn rowwise(body: &mut Body, op: &Rowwise, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let value = evaluate(body, &op.body, operands, None)?;
    if fact.is_quantized() {
        return Ok(value);
    }
    let name = body.read(&value)?;
    body.narrowed(&name, fact)
}

pub fn gemm(body: &mut Body, op: &Gemm, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let product = evaluate(body, &op.product, operands, None)?;
    let product = body.read(&product)?;
    let rows = &fact.shape[..fact.shape.len().saturating_sub(1)];
    let mut parts = Vec::with_capacity(op.segments.len());
    for (segment, start) in op.segments.iter().zip(op.starts()) {
        let columns = match op.segments.len() {
            1 => product.clone(),
            _ => part(body, &product, rows.len(), start, start + segment.columns),
        };
        let acc = body.made(columns, &segment.acc(rows));
        let value = evaluate(body, &segment.body, operands, Some(&acc))?;
        parts.push(body.wide(&value)?);
    }
    let whole = match &parts[..] {
        [one] => one.clone(),
        parts => {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            body.node("Concat", &parts, vec![int("axis", -1)])
        }
    };
    body.narrowed(&whole, fact)
}

/// The result of `formula`, in f32 or as codes; `acc` is the product, if there is one.
fn evaluate(
    body: &mut Body,
    formula: &Formula,
    operands: &[Value],
    acc: Option<&Value>,
) -> Result<Value, Refusal> {
    let facts: Vec<&Fact> = operands.iter().map(|operand| &operand.fact).collect();
    let facts =
        formula.infer(&facts, acc.map(|acc| &acc.fact)).map_err(|error| Refusal(error.to_string()))?;
    let mut values: Vec<Value> = Vec::with_capacity(facts.len());
    let read = |body: &mut Body, values: &[Value], arg: Arg| {
        let value = match arg {
            Arg::Operand(index) => operands.get(index),
            Arg::Acc => acc,
            Arg::Term(index) => values.get(index),
        };
        body.widened(value.ok_or_else(|| Refusal("its formula reads what is not there".into()))?)
    };
    for (Term { op, args }, fact) in formula.terms().iter().zip(&facts) {
        let args = args.iter().map(|&arg| read(body, &values, arg)).collect::<Result<Vec<_>, _>>()?;
        values.push(match op {
            Op::Constant(constant) => body.numeral(constant.value.0, fact.dtype),
            // Its result is rounded, but stays f32.
            Op::Cast(_) => {
                let name = body.read(&args[0])?;
                let rounded = body.cast(&name, ElementType::F32, element_of(fact)?);
                let rounded = body.cast(&rounded, element_of(fact)?, ElementType::F32);
                body.made(rounded, &fact.widened())
            }
            op => write(body, op, &args, fact)?,
        });
    }
    read(body, &values, formula.result())
}
