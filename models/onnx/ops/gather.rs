//! Elements by their indices, and indices by elements.

use super::Group;
use super::entries::{looked_up, taken};
use super::layout::permuted;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::{indices, place};
use crate::onnx::lowering::{At, Value, axis};
use crate::onnx::tensor::Known;
use reflux_ir::op::Argmax;

pub const OPS: Group = &[("ArgMax", argmax), ("Gather", gather)];

fn gather<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (x, ids) = (at.input(0)?, at.input(1)?);
    let shape = at.shape(&x);
    let along = axis(at.int("axis", 0), shape.len())?;
    let element = at.element(&x);
    let Some(known) = at.number(&ids) else {
        let (value, ids) = (at.computed(0)?, at.computed(1)?);
        let value = looked_up(at, value, along, ids)?;
        return at.one(value, element);
    };
    let places = known
        .to_ints()
        .into_iter()
        .map(|number| axis(number, shape[along]))
        .collect::<Result<Vec<_>, _>>()?;
    let result = [&shape[..along], &known.shape, &shape[along + 1..]].concat();
    if let Some(numbers) = at.number(&x) {
        at.check_size(&result)?;
        let own = |index: &[usize]| {
            let (before, rest) = index.split_at(along);
            let (id, after) = rest.split_at(known.shape.len());
            let chosen = places[place(id.iter().copied(), &known.shape)];
            place(before.iter().copied().chain([chosen]).chain(after.iter().copied()), &shape)
        };
        return at.result(numbers.moved(&result, own));
    }
    if places.is_empty() {
        refuse!("its result has no elements");
    }
    let value = at.computed(0)?;
    let value = taken(at, value, along, &places)?;
    let value = at.reshaped(value, &result)?;
    at.one(value, element)
}

fn argmax<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let shape = at.shape(&x);
    let along = axis(at.int("axis", 0), shape.len())?;
    if at.int("select_last_index", 0) != 0 {
        refuse!("it takes the last of equal numbers");
    }
    let mut result = shape.clone();
    if at.int("keepdims", 1) != 0 {
        result[along] = 1;
    } else {
        result.remove(along);
    }
    if let Some(known) = at.number(&x) {
        let largest = |index: Vec<usize>| {
            let mut own = index;
            if own.len() < shape.len() {
                own.insert(along, 0);
            }
            let number = |candidate: usize| {
                let mut own = own.clone();
                own[along] = candidate;
                known.numbers[place(own, &shape)]
            };
            (0..shape[along]).fold(0, |best, other| if number(other) > number(best) { other } else { best })
                as f64
        };
        let numbers = indices(&result).map(largest).collect();
        return at.result(Known { element: Element::I64, numbers, shape: result });
    }
    if at.element(&x).is_float() {
        refuse!("the index of the largest of floats is not computed");
    }
    let last: Vec<usize> = (0..shape.len()).filter(|&axis| axis != along).chain([along]).collect();
    let value = at.computed(0)?;
    let value = permuted(at, value, &last)?;
    let value = at.add(Argmax {}, &[value])?;
    let value = at.reshaped(value, &result)?;
    at.one(value, Element::I64)
}
