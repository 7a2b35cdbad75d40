//! Comparisons, logic, and choice by them. Truth is 0 or 1 in f32, see [`Element::dtype`].

use super::Group;
use super::arithmetic::{broadcast_op, combined};
use super::functions::with;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::indices;
use crate::onnx::lowering::{At, Value, broadcast};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Where};

pub const OPS: Group = &[
    ("And", |at| compared(at, |a, b| a != 0.0 && b != 0.0, |at, a, b| broadcast_op(at, Binary::Mul, a, b))),
    ("Equal", |at| compared(at, |a, b| a == b, |at, a, b| broadcast_op(at, Binary::Equal, a, b))),
    ("Greater", |at| compared(at, |a, b| a > b, |at, a, b| broadcast_op(at, Binary::Less, b, a))),
    ("GreaterOrEqual", |at| compared(at, |a, b| a >= b, |at, a, b| less_or_equal(at, b, a))),
    ("IsNaN", |at| {
        let x = at.input(0)?;
        if let Some(known) = at.number(&x) {
            let numbers = known.numbers.iter().map(|number| f64::from(number.is_nan())).collect();
            return at.result(Known { element: Element::Bool, shape: known.shape.clone(), numbers });
        }
        // Nothing else differs from itself.
        let x = at.computed(0)?;
        let is_number = at.add(Binary::Equal, &[x, x])?;
        let value = opposite(at, is_number)?;
        let value = at.cast(value, Element::Bool)?;
        at.one(value, Element::Bool)
    }),
    ("Less", |at| compared(at, |a, b| a < b, |at, a, b| broadcast_op(at, Binary::Less, a, b))),
    ("LessOrEqual", |at| compared(at, |a, b| a <= b, less_or_equal)),
    ("Not", not),
    ("Or", |at| compared(at, |a, b| a != 0.0 || b != 0.0, |at, a, b| broadcast_op(at, Binary::Max, a, b))),
    ("Where", choose),
    ("Xor", |at| {
        compared(
            at,
            |a, b| (a != 0.0) != (b != 0.0),
            |at, a, b| {
                let equal = broadcast_op(at, Binary::Equal, a, b)?;
                opposite(at, equal)
            },
        )
    }),
];

/// A comparison of two values.
fn compared<'g>(
    at: &mut At<'_, 'g>,
    known: fn(f64, f64) -> bool,
    lower: fn(&mut At<'_, 'g>, &Value<'g>, &Value<'g>) -> Result<ValueId, Refusal>,
) -> Result<Vec<Value<'g>>, Refusal> {
    if let Some(all) = at.all_known() {
        let [a, b] = &all[..] else { refuse!("it needs two inputs") };
        return at.result(combined(at, a, b, Element::Bool, |a, b| f64::from(known(a, b)))?);
    }
    let (a, b) = (at.input(0)?, at.input(1)?);
    let value = lower(at, &a, &b)?;
    let value = at.cast(value, Element::Bool)?;
    at.one(value, Element::Bool)
}

/// Not the opposite of `b < a`, which holds of NaN too.
fn less_or_equal<'g>(at: &mut At<'_, 'g>, a: &Value<'g>, b: &Value<'g>) -> Result<ValueId, Refusal> {
    let less = broadcast_op(at, Binary::Less, a, b)?;
    let equal = broadcast_op(at, Binary::Equal, a, b)?;
    at.add(Binary::Max, &[less, equal])
}

/// `1 - x`.
fn opposite(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    let negative = with(at, Binary::Mul, x, -1.0)?;
    with(at, Binary::Add, negative, 1.0)
}

fn not<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    if let Some(known) = at.number(&at.input(0)?) {
        let numbers = known.numbers.iter().map(|&number| f64::from(number == 0.0)).collect();
        return at.result(Known { element: Element::Bool, shape: known.shape.clone(), numbers });
    }
    let x = at.computed(0)?;
    let value = opposite(at, x)?;
    at.one(value, Element::Bool)
}

fn choose<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (condition, a, b) = (at.input(0)?, at.input(1)?, at.input(2)?);
    let shape = broadcast(&at.shape(&condition), &broadcast(&at.shape(&a), &at.shape(&b))?)?;
    let element = at.element(&a);
    if let Some(all) = at.all_known() {
        at.check_size(&shape)?;
        let number = |index: Vec<usize>| {
            let chosen = if all[0].broadcast_at(&index) != 0.0 { &all[1] } else { &all[2] };
            chosen.broadcast_at(&index)
        };
        return at.result(Known { element, numbers: indices(&shape).map(number).collect(), shape });
    }
    // A condition that is the same everywhere, as one on shapes is.
    if let Some(known) = at.number(&condition)
        && let Some(first) = known.numbers.first()
        && known.numbers.iter().all(|number| number == first)
    {
        let chosen = if *first != 0.0 { &a } else { &b };
        if at.shape(chosen) == shape {
            return Ok(vec![chosen.clone()]);
        }
    }
    let operands = [at.operand(&condition)?, at.operand(&a)?, at.operand(&b)?];
    let value = at.add(Where {}, &operands)?;
    let value = at.reshaped(value, &shape)?;
    at.one(value, element)
}
