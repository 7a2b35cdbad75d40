//! Arithmetic on two values or more, which broadcast.

use super::Group;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::indices;
use crate::onnx::lowering::{At, Value, broadcast};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Unary};
use reflux_ir::pass::counted;
use std::rc::Rc;

pub const OPS: Group = &[
    ("Add", |at| two(at, Binary::Add, |a, b| a + b)),
    ("Sub", |at| two(at, Binary::Sub, |a, b| a - b)),
    ("Mul", |at| {
        refuse_ends(at)?;
        two(at, Binary::Mul, |a, b| a * b)
    }),
    ("Div", div),
    ("Max", |at| pairwise(at, Binary::Max, f64::max)),
    ("Min", |at| pairwise(at, Binary::Min, f64::min)),
    ("Sum", |at| pairwise(at, Binary::Add, |a, b| a + b)),
    ("Mean", mean),
    ("Mod", modulo),
    ("Pow", pow),
];

/// `op` of both inputs; of numbers that are known, by `known`.
fn two<'g>(at: &mut At<'_, 'g>, op: Binary, known: fn(f64, f64) -> f64) -> Result<Vec<Value<'g>>, Refusal> {
    match at.count() {
        2 => pairwise(at, op, known),
        count => refuse!("it has {} instead of 2", counted(count, "input")),
    }
}

/// `op` over all inputs, one after the other; of numbers that are known, by `known`.
fn pairwise<'g>(
    at: &mut At<'_, 'g>,
    op: Binary,
    known: fn(f64, f64) -> f64,
) -> Result<Vec<Value<'g>>, Refusal> {
    if let Some(all) = at.all_known() {
        let (first, rest) = all.split_first().ok_or_else(|| Refusal("it has no inputs".into()))?;
        let mut result = first.as_ref().clone();
        for other in rest {
            result = combined(at, &result, other, first.element, known)?;
        }
        return at.result(result);
    }
    let mut result = at.input(0)?;
    for index in 1..at.count() {
        let other = at.input(index)?;
        let element = at.element(&result);
        let value = broadcast_op(at, op, &result, &other)?;
        result = Value::Computed(value, element);
    }
    let element = at.element(&result);
    let value = at.computed_of(&result)?;
    at.one(value, element)
}

/// Integers up to this are numbers in f64.
pub const MOST_EXACT: f64 = (1u64 << 53) as f64;

/// From here on, integers are taken for the ends of their type, where casts of infinity are, and stay there.
const ENDS: f64 = i64::MAX as f64 - MOST_EXACT;

/// Refuses to compute with known integers that are not exact here: at the ends of their type only sums stay what they are.
pub fn refuse_ends(at: &At) -> Result<(), Refusal> {
    let is_inexact = |known: &Known| {
        !known.element.is_float() && known.numbers.iter().any(|number| number.abs() > MOST_EXACT)
    };
    match at.all_known().is_some_and(|all| all.iter().any(|known| is_inexact(known))) {
        true => refuse!("it computes with integers beyond 2⁵³"),
        false => Ok(()),
    }
}

/// `f` of all pairs of numbers of two values, which broadcast, rounded to `element`.
pub fn combined(
    at: &At,
    a: &Known,
    b: &Known,
    element: Element,
    f: impl Fn(f64, f64) -> f64,
) -> Result<Known, Refusal> {
    let shape = broadcast(&a.shape, &b.shape)?;
    at.check_size(&shape)?;
    let number = |index: Vec<usize>| f(a.broadcast_at(&index), b.broadcast_at(&index));
    let numbers: Vec<f64> = indices(&shape).map(number).collect();
    let is_inexact = |number: &f64| number.abs() > MOST_EXACT && number.abs() < ENDS;
    if !element.is_float() && numbers.iter().any(is_inexact) {
        refuse!("it makes an integer beyond 2⁵³ of known ones");
    }
    let numbers = numbers.into_iter().map(|number| element.round(number)).collect();
    Ok(Known { element, numbers, shape })
}

/// `op` of two values of one type, of the shape that they broadcast to.
pub fn broadcast_op<'g>(
    at: &mut At<'_, 'g>,
    op: Binary,
    a: &Value<'g>,
    b: &Value<'g>,
) -> Result<ValueId, Refusal> {
    let shape = broadcast(&at.shape(a), &at.shape(b))?;
    let operands = [at.operand(a)?, at.operand(b)?];
    let value = at.add(op, &operands)?;
    // A number alone has no axes here, whatever it has there.
    at.reshaped(value, &shape)
}

fn div<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let element = at.element(&at.input(0)?);
    if element.is_float() {
        return two(at, Binary::Div, |a, b| a / b);
    }
    let Some(all) = at.all_known() else {
        refuse!("a quotient of integers that depend on inputs is not computed")
    };
    let [a, b] = &all[..] else { refuse!("it needs two inputs") };
    if b.numbers.contains(&0.0) {
        refuse!("it divides by zero");
    }
    refuse_ends(at)?;
    at.result(combined(at, a, b, element, |a, b| (a / b).trunc())?)
}

/// The remainder, which is computed for known numbers: of the sign of the divisor, or with `fmod` of the dividend.
fn modulo<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (a, b) = (at.known(0)?, at.known(1)?);
    if b.numbers.contains(&0.0) {
        refuse!("it divides by zero");
    }
    refuse_ends(at)?;
    let of_dividend = at.int("fmod", 0) != 0;
    let remainder = |a: f64, b: f64| if of_dividend { a % b } else { a - b * (a / b).floor() };
    at.result(combined(at, &a, &b, a.element, remainder)?)
}

fn mean<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let count = at.count();
    let sum = pairwise(at, Binary::Add, |a, b| a + b)?;
    let [sum] = &sum[..] else { refuse!("it has no inputs") };
    let element = at.element(sum);
    let count = Known { element, shape: Vec::new(), numbers: vec![count as f64] };
    if let Some(sum) = at.number(sum) {
        return at.result(combined(at, &sum, &count, element, |a, b| a / b)?);
    }
    let value = broadcast_op(at, Binary::Div, sum, &Value::Known(Rc::new(count)))?;
    at.one(value, element)
}

/// Powers: the second and third as products, and the root as such, which are exact to the last bit or nearly so.
fn pow<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let base = at.input(0)?;
    let element = at.element(&base);
    refuse_ends(at)?;
    if let Some(all) = at.all_known() {
        let [base, exponent] = &all[..] else { refuse!("it needs two inputs") };
        return at.result(combined(at, base, exponent, element, f64::powf)?);
    }
    let exponent = at.input(1)?;
    let number = at.number(&exponent).and_then(|known| known.scalar());
    let is_plain = at.shape(&exponent).len() <= at.shape(&base).len();
    let x = at.computed_of(&base)?;
    let value = match number.filter(|_| is_plain) {
        Some(1.0) => x,
        Some(2.0) => at.add(Binary::Mul, &[x, x])?,
        Some(3.0) => {
            let square = at.add(Binary::Mul, &[x, x])?;
            at.add(Binary::Mul, &[square, x])?
        }
        Some(0.5) => at.add(Unary::Sqrt, &[x])?,
        Some(number) => {
            let exponent = at.constant(number, element)?;
            at.add(Binary::Pow, &[x, exponent])?
        }
        None => {
            let shape = broadcast(&at.shape(&base), &at.shape(&exponent))?;
            let exponent = at.operand(&exponent)?;
            let exponent = at.cast(exponent, element)?;
            let value = at.add(Binary::Pow, &[x, exponent])?;
            at.reshaped(value, &shape)?
        }
    };
    at.one(value, element)
}
