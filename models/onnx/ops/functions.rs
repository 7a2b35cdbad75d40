//! Functions of one value.

use super::Group;
use super::arithmetic::refuse_ends;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Unary};

pub const OPS: Group = &[
    ("Abs", |at| function(at, f64::abs, abs)),
    ("Cast", cast),
    ("CastLike", |at| {
        let like = at.input(1)?;
        cast_to(at, at.element(&like))
    }),
    ("Ceil", |at| of_known(at, f64::ceil)),
    ("Clip", clip),
    ("Cos", |at| function(at, f64::cos, |at, x| at.add(Unary::Cos, &[x]))),
    ("Dropout", same),
    ("Elu", |at| {
        let alpha = at.float("alpha", 1.0);
        floats(at, |at, x| elu(at, x, alpha))
    }),
    ("Erf", |at| floats(at, |at, x| at.add(Unary::Erf, &[x]))),
    ("Exp", |at| function(at, f64::exp, |at, x| at.add(Unary::Exp, &[x]))),
    ("Floor", |at| of_known(at, f64::floor)),
    ("Gelu", |at| {
        let op = match at.text("approximate", "none") {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            other => refuse!("its approximation `{other}` is not known"),
        };
        floats(at, |at, x| at.add(op, &[x]))
    }),
    ("HardSigmoid", |at| {
        let (alpha, beta) = (at.float("alpha", 0.2), at.float("beta", 0.5));
        floats(at, |at, x| hard_sigmoid(at, x, alpha, beta))
    }),
    ("HardSwish", |at| {
        floats(at, |at, x| {
            let gate = hard_sigmoid(at, x, 1.0 / 6.0, 0.5)?;
            at.add(Binary::Mul, &[x, gate])
        })
    }),
    ("Identity", same),
    ("LeakyRelu", |at| {
        let alpha = at.float("alpha", 0.01);
        if !(0.0..=1.0).contains(&alpha) {
            refuse!("its slope {alpha} is not between 0 and 1");
        }
        floats(at, |at, x| {
            let sloped = with(at, Binary::Mul, x, alpha.into())?;
            at.add(Binary::Max, &[x, sloped])
        })
    }),
    ("Mish", |at| {
        floats(at, |at, x| {
            let softplus = softplus(at, x)?;
            let gate = at.add(Unary::Tanh, &[softplus])?;
            at.add(Binary::Mul, &[x, gate])
        })
    }),
    ("Log", |at| function(at, f64::ln, |at, x| at.add(Unary::Log, &[x]))),
    ("Neg", |at| function(at, |x| -x, |at, x| with(at, Binary::Mul, x, -1.0))),
    ("PRelu", |at| {
        let slope = at.input(1)?;
        let slope = at.operand(&slope)?;
        floats(at, |at, x| {
            let below = with(at, Binary::Min, x, 0.0)?;
            let below = at.add(Binary::Mul, &[below, slope])?;
            let above = with(at, Binary::Max, x, 0.0)?;
            at.add(Binary::Add, &[above, below])
        })
    }),
    ("Reciprocal", |at| function(at, f64::recip, reciprocal)),
    ("Relu", |at| function(at, |x| x.max(0.0), |at, x| with(at, Binary::Max, x, 0.0))),
    ("Round", |at| of_known(at, f64::round_ties_even)),
    ("Selu", |at| {
        let (alpha, gamma) = (at.float("alpha", 1.673_263_2), at.float("gamma", 1.050_701));
        floats(at, |at, x| {
            let value = elu(at, x, alpha)?;
            with(at, Binary::Mul, value, gamma.into())
        })
    }),
    ("Sigmoid", |at| floats(at, |at, x| at.add(Unary::Sigmoid, &[x]))),
    ("Sin", |at| function(at, f64::sin, |at, x| at.add(Unary::Sin, &[x]))),
    ("Softplus", |at| floats(at, softplus)),
    ("Softsign", |at| {
        floats(at, |at, x| {
            let size = abs(at, x)?;
            let more = with(at, Binary::Add, size, 1.0)?;
            at.add(Binary::Div, &[x, more])
        })
    }),
    ("Sqrt", |at| function(at, f64::sqrt, |at, x| at.add(Unary::Sqrt, &[x]))),
    ("Tanh", |at| function(at, f64::tanh, |at, x| at.add(Unary::Tanh, &[x]))),
];

/// `x op number`.
pub fn with(at: &mut At, op: Binary, x: ValueId, number: f64) -> Result<ValueId, Refusal> {
    let number = at.constant_like(number, x)?;
    at.add(op, &[x, number])
}

/// `1 / x`.
fn reciprocal(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    let one = at.constant_like(1.0, x)?;
    at.add(Binary::Div, &[one, x])
}

/// `|x|`, as the greater of `x` and `−x`.
pub fn abs(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    let negative = with(at, Binary::Mul, x, -1.0)?;
    at.add(Binary::Max, &[x, negative])
}

/// `x` where it is positive, else `alpha · (eˣ − 1)`.
fn elu(at: &mut At, x: ValueId, alpha: f32) -> Result<ValueId, Refusal> {
    // Where x is positive, the exponential is of zero: it cannot overflow, and adds nothing.
    let below = with(at, Binary::Min, x, 0.0)?;
    let exp = at.add(Unary::Exp, &[below])?;
    let below = with(at, Binary::Sub, exp, 1.0)?;
    let below = with(at, Binary::Mul, below, alpha.into())?;
    let above = with(at, Binary::Max, x, 0.0)?;
    at.add(Binary::Add, &[above, below])
}

/// `log(1 + eˣ)`, as `max(x, 0) + log(1 + e^−|x|)`, which overflows nowhere.
fn softplus(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    let size = abs(at, x)?;
    let negative = with(at, Binary::Mul, size, -1.0)?;
    let exp = at.add(Unary::Exp, &[negative])?;
    let more = with(at, Binary::Add, exp, 1.0)?;
    let log = at.add(Unary::Log, &[more])?;
    let above = with(at, Binary::Max, x, 0.0)?;
    at.add(Binary::Add, &[above, log])
}

fn hard_sigmoid(at: &mut At, x: ValueId, alpha: f32, beta: f32) -> Result<ValueId, Refusal> {
    let line = with(at, Binary::Mul, x, alpha.into())?;
    let line = with(at, Binary::Add, line, beta.into())?;
    let line = with(at, Binary::Max, line, 0.0)?;
    with(at, Binary::Min, line, 1.0)
}

/// `f` of each known number, or else what `lower` makes of it.
fn function<'g>(
    at: &mut At<'_, 'g>,
    f: fn(f64) -> f64,
    lower: fn(&mut At, ValueId) -> Result<ValueId, Refusal>,
) -> Result<Vec<Value<'g>>, Refusal> {
    refuse_ends(at)?;
    match at.number(&at.input(0)?) {
        Some(known) => at.result(mapped(&known, f)),
        None => floats(at, lower),
    }
}

/// What `lower` makes of the input.
fn floats<'g>(
    at: &mut At<'_, 'g>,
    lower: impl Fn(&mut At<'_, 'g>, ValueId) -> Result<ValueId, Refusal>,
) -> Result<Vec<Value<'g>>, Refusal> {
    let element = at.element(&at.input(0)?);
    let x = at.computed(0)?;
    let value = lower(at, x)?;
    at.one(value, element)
}

/// `f` of each number, which have to be known.
fn of_known<'g>(at: &mut At<'_, 'g>, f: fn(f64) -> f64) -> Result<Vec<Value<'g>>, Refusal> {
    let known = at.known(0)?;
    at.result(mapped(&known, f))
}

fn mapped(known: &Known, f: impl Fn(f64) -> f64) -> Known {
    let numbers = known.numbers.iter().map(|&number| known.element.round(f(number))).collect();
    Known { element: known.element, shape: known.shape.clone(), numbers }
}

fn same<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let is_training =
        at.node.op == "Dropout" && at.optional(2).is_some() && at.known(2)?.scalar() != Some(0.0);
    if is_training {
        refuse!("it is for training");
    }
    Ok(vec![at.input(0)?])
}

fn cast<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let number = at.int("to", 0);
    match i32::try_from(number).map(Element::of) {
        Ok(Ok(element)) => cast_to(at, element),
        _ => refuse!("its type {number} is not read"),
    }
}

fn cast_to<'g>(at: &mut At<'_, 'g>, to: Element) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let from = at.element(&x);
    if let Some(known) = at.number(&x) {
        return at.result(known.cast(to));
    }
    if from == to {
        return Ok(vec![x]);
    }
    let value = at.computed(0)?;
    let value = match (from, to) {
        // Whatever is not zero is true.
        (_, Element::Bool) => {
            let value = at.cast(value, Element::F32)?;
            let is_zero = with(at, Binary::Equal, value, 0.0)?;
            let one = at.constant(1.0, Element::F32)?;
            at.add(Binary::Sub, &[one, is_zero])?
        }
        (from, to) if from.is_float() && !to.is_float() => {
            refuse!("how floats become integers is not the same on all devices")
        }
        _ => at.cast(value, to)?,
    };
    at.one(value, to)
}

fn clip<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let bound = |index: usize| match at.optional(index) {
        Some(_) => at.known(index).map(|known| known.scalar()),
        None => Ok(None),
    };
    let (least, most) = (bound(1)?, bound(2)?);
    if let Some(known) = at.number(&x) {
        let clipped = |number: f64| number.max(least.unwrap_or(f64::MIN)).min(most.unwrap_or(f64::MAX));
        return at.result(mapped(&known, clipped));
    }
    let mut value = at.computed(0)?;
    // Bounds that the type does not reach, as exporters write where there is none, change nothing.
    for (op, bound) in [(Binary::Max, least), (Binary::Min, most)] {
        if let Some(bound) = bound.filter(|bound| bound.abs() < f64::from(f32::MAX)) {
            value = with(at, op, value, bound)?;
        }
    }
    at.one(value, at.element(&x))
}
