//! Elements by their indices, and indices by elements.

use super::Group;
use super::entries::{looked_up, part, taken};
use super::functions::with;
use super::layout::permuted;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::{indices, place};
use crate::onnx::lowering::{At, Value, axis};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Argmax, Binary, Select};

pub const OPS: Group = &[("ArgMax", argmax), ("Gather", gather), ("GatherND", gather_nd)];

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

/// Each row of the indices is a place along the first axes, behind those of the batch.
fn gather_nd<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (x, ids) = (at.input(0)?, at.input(1)?);
    let (shape, ids_shape, element) = (at.shape(&x), at.shape(&ids), at.element(&x));
    let batch = usize::try_from(at.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let Some((&depth, rows)) = ids_shape.split_last() else { refuse!("its indices have no axis") };
    let fits = batch <= rows.len().min(shape.len()) && (1..=shape.len() - batch).contains(&depth);
    if !fits || rows[..batch] != shape[..batch] {
        refuse!("indices of {ids_shape:?} with {batch} axes of a batch do not fit {shape:?}");
    }
    let (inner, rest) = shape.split_at(batch + depth);
    let result = [rows, rest].concat();
    let flat = [&[inner.iter().product()], rest].concat();
    let Some(known) = at.number(&ids) else {
        let (x, ids) = (at.computed(0)?, at.computed(1)?);
        // One entry for each of the batch.
        if depth == 1 && rows.len() == batch {
            let ids = at.reshaped(ids, rows)?;
            let value = at.add(Select {}, &[x, ids])?;
            return at.one(value, element);
        }
        if batch > 0 {
            refuse!("its indices depend on inputs, and it has several for each of a batch");
        }
        let x = at.reshaped(x, &flat)?;
        let places = flat_places(at, ids, inner)?;
        let found = looked_up(at, x, 0, places)?;
        let found = at.reshaped(found, &result)?;
        return at.one(found, element);
    };
    at.check_size(&result)?;
    let numbers = known.to_ints();
    let mut places = Vec::with_capacity(numbers.len() / depth);
    for (row, numbers) in indices(rows).zip(numbers.chunks_exact(depth)) {
        let own = numbers.iter().zip(&inner[batch..]).map(|(&number, &extent)| axis(number, extent));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        places.push(place(row[..batch].iter().copied().chain(own), inner));
    }
    if let Some(numbers) = at.number(&x) {
        let size: usize = rest.iter().product();
        let own = |index: &[usize]| {
            let (row, after) = index.split_at(rows.len());
            places[place(row.iter().copied(), rows)] * size + place(after.iter().copied(), rest)
        };
        return at.result(numbers.moved(&result, own));
    }
    if places.is_empty() {
        refuse!("its result has no elements");
    }
    let value = at.computed(0)?;
    let value = at.reshaped(value, &flat)?;
    let value = taken(at, value, 0, &places)?;
    let value = at.reshaped(value, &result)?;
    at.one(value, element)
}

/// Where rows of indices along axes of these extents are once the axes are one.
fn flat_places(at: &mut At, ids: ValueId, extents: &[usize]) -> Result<ValueId, Refusal> {
    let last = at.fact(ids).shape.len() - 1;
    let rows = at.fact(ids).shape[..last].to_vec();
    let mut sum: Option<ValueId> = None;
    for (index, extent) in extents.iter().enumerate() {
        // Along an axis of one there is one place.
        if *extent == 1 && (sum.is_some() || index + 1 < extents.len()) {
            continue;
        }
        let own = part(at, ids, last, index, index + 1)?;
        let mut own = at.reshaped(own, &rows)?;
        let stride: usize = extents[index + 1..].iter().product();
        if stride != 1 {
            own = with(at, Binary::Mul, own, stride as f64)?;
        }
        sum = Some(match sum {
            Some(sum) => at.add(Binary::Add, &[sum, own])?,
            None => own,
        });
    }
    Ok(sum.expect("the last axis is not left out"))
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
