//! Entries of a value along an axis.

use super::layout::permuted;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::At;
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Concat, Embedding, Slice};

/// Elements `start..end` of `x` along an axis; itself, if these are all.
pub fn part(at: &mut At, x: ValueId, along: usize, start: usize, end: usize) -> Result<ValueId, Refusal> {
    if start == 0 && end == at.fact(x).shape[along] {
        return Ok(x);
    }
    at.add(Slice { axis: along as i64, start, end }, &[x])
}

/// The most slices that are joined in the place of a table.
const MOST_SLICES: usize = 8;

/// The entries at `places` along an axis.
pub fn taken(at: &mut At, x: ValueId, along: usize, places: &[usize]) -> Result<ValueId, Refusal> {
    // Neighbours in their order are one part.
    if let Some(&first) = places.first()
        && places.iter().enumerate().all(|(index, &place)| place == first + index)
    {
        return part(at, x, along, first, first + places.len());
    }
    if places.len() <= MOST_SLICES {
        let slices: Result<Vec<_>, _> =
            places.iter().map(|&place| part(at, x, along, place, place + 1)).collect();
        return at.add(Concat { axis: along as i64 }, &slices?);
    }
    let numbers = places.iter().map(|&place| place as f64).collect();
    let ids = Known { element: Element::I32, shape: vec![places.len()], numbers };
    let ids = at.known_weight(&ids)?;
    looked_up(at, x, along, ids)
}

/// The entries along an axis that `ids` say, whose axes are in its place.
pub fn looked_up(at: &mut At, x: ValueId, along: usize, ids: ValueId) -> Result<ValueId, Refusal> {
    let shape = at.fact(x).shape.to_vec();
    if !at.fact(x).dtype.is_float() {
        refuse!("it looks up integers that depend on inputs");
    }
    let others: Vec<usize> = (0..shape.len()).filter(|&axis| axis != along).collect();
    let first: Vec<usize> = std::iter::once(along).chain(others.iter().copied()).collect();
    let table = permuted(at, x, &first)?;
    let row: usize = others.iter().map(|&axis| shape[axis]).product();
    let table = at.reshaped(table, &[shape[along], row])?;
    let found = at.add(Embedding {}, &[ids, table])?;
    let ids_shape = at.fact(ids).shape.to_vec();
    let (before, after) = (&shape[..along], &shape[along + 1..]);
    let found = at.reshaped(found, &[&ids_shape[..], before, after].concat())?;
    // The axes of the ids go behind those that were before the axis.
    let (count, before) = (ids_shape.len(), before.len());
    let perm: Vec<usize> =
        (count..count + before).chain(0..count).chain(count + before..count + others.len()).collect();
    permuted(at, found, &perm)
}
