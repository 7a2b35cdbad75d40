//! Normalisation.

use super::Group;
use super::arithmetic::{broadcast_op, combined};
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value, axis};
use crate::onnx::tensor::Known;
use reflux_ir::op::{Binary, GroupNorm, LayerNorm, Real};
use std::rc::Rc;

pub const OPS: Group = &[
    ("BatchNormalization", batch_norm),
    ("GroupNormalization", group_norm),
    ("InstanceNormalization", instance_norm),
    ("LayerNormalization", layer_norm),
];

/// The number that is added to a variance, in as few digits as tell it apart.
fn epsilon(at: &At) -> Real {
    let text = at.float("epsilon", 1e-5).to_string();
    Real::from(text.parse::<f64>().expect("Rust reads the numbers that it writes"))
}

/// Whether `value` is known to be this number everywhere.
fn is_all<'g>(at: &At<'_, 'g>, value: &Value<'g>, number: f64) -> bool {
    at.number(value).is_some_and(|known| known.numbers.iter().all(|own| *own == number))
}

fn layer_norm<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let (shape, element, eps) = (at.shape(&x), at.element(&x), epsilon(at));
    let first = axis(at.int("axis", -1), shape.len())?;
    let row: usize = shape[first..].iter().product();
    // Norms are over the last axis; over several they are over these as one.
    let rows = [&shape[..first], &[row]].concat();
    let value = at.computed(0)?;
    let value = at.reshaped(value, &rows)?;
    let scale = at.input(1)?;
    let value = match at.optional(2) {
        None if is_all(at, &scale, 1.0) => at.add(LayerNorm { eps }, &[value])?,
        bias => {
            let bias = match bias {
                Some(bias) => at.computed_of(&bias)?,
                None => at.known_weight(&Known { element, shape: vec![row], numbers: vec![0.0; row] })?,
            };
            let scale = at.computed_of(&scale)?;
            let (scale, bias) = (at.reshaped(scale, &[row])?, at.reshaped(bias, &[row])?);
            at.add(LayerNorm { eps }, &[value, scale, bias])?
        }
    };
    let value = at.reshaped(value, &shape)?;
    at.one(value, element)
}

fn instance_norm<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let shape = at.shape(&x);
    let Some(&groups) = shape.get(1) else { refuse!("its input has no channels") };
    let [scale, bias] = [at.input(1)?, at.input(2)?];
    if is_all(at, &scale, 1.0) && is_all(at, &bias, 0.0) {
        let value = at.computed(0)?;
        let value = at.reshaped(value, &[shape[0], groups, shape[2..].iter().product()])?;
        let value = at.add(LayerNorm { eps: epsilon(at) }, &[value])?;
        let value = at.reshaped(value, &shape)?;
        return at.one(value, at.element(&x));
    }
    let operands = [at.computed(0)?, at.computed(1)?, at.computed(2)?];
    let value = at.add(GroupNorm { groups, eps: epsilon(at) }, &operands)?;
    at.one(value, at.element(&x))
}

fn group_norm<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    if at.opset() < 21 {
        refuse!("before version 21 of ONNX's operators it scales groups, not channels");
    }
    let groups = usize::try_from(at.int("num_groups", 0)).unwrap_or(0);
    let operands = [at.computed(0)?, at.computed(1)?, at.computed(2)?];
    let value = at.add(GroupNorm { groups, eps: epsilon(at) }, &operands)?;
    at.one(value, at.element(&at.input(0)?))
}

/// With the statistics of training it is a factor and a summand for each channel.
fn batch_norm<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    if at.int("training_mode", 0) != 0 {
        refuse!("it is for training");
    }
    let x = at.input(0)?;
    let (element, rank) = (at.element(&x), at.shape(&x).len());
    let [scale, bias, mean, variance] = [at.known(1)?, at.known(2)?, at.known(3)?, at.known(4)?];
    let eps = f64::from(at.float("epsilon", 1e-5));
    let deviation = |variance: f64, _: f64| (variance + eps).sqrt();
    let deviation = combined(at, &variance, &variance, element, deviation)?;
    let factor = combined(at, &scale, &deviation, element, |a, b| a / b)?;
    let moved = combined(at, &mean, &factor, element, |a, b| a * b)?;
    let summand = combined(at, &bias, &moved, element, |a, b| a - b)?;
    let mut value = x;
    for (op, known) in [(Binary::Mul, factor), (Binary::Add, summand)] {
        let mut shape = vec![known.numbers.len()];
        shape.resize(rank.saturating_sub(1).max(1), 1);
        let known = Value::Known(Rc::new(known.reshaped(shape)));
        value = Value::Computed(broadcast_op(at, op, &value, &known)?, element);
    }
    Ok(vec![value])
}
