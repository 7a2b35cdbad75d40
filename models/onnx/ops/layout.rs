//! The same numbers under another shape, moved, repeated, joined.

use super::Group;
use super::known_only::sizes;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::{indices, place};
use crate::onnx::lowering::{At, Value, axis, broadcast};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Concat, Transpose};
use std::rc::Rc;

pub const OPS: Group = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Expand", expand),
    ("Flatten", |at| {
        let shape = at.shape(&at.input(0)?);
        let first = match at.int("axis", 1) {
            end if end == shape.len() as i64 => shape.len(),
            other => axis(other, shape.len())?,
        };
        let (outer, inner) = shape.split_at(first);
        under_shape(at, vec![outer.iter().product(), inner.iter().product()])
    }),
    ("Pad", pad),
    ("Reshape", reshape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", |at| {
        let x = at.input(0)?;
        let rank = at.shape(&x).len();
        let perm = match at.int_list("perm") {
            Some(perm) if perm.iter().any(|&axis| axis < 0) => {
                refuse!("its perm {perm:?} has a negative axis")
            }
            Some(perm) => perm.iter().map(|&number| axis(number, rank)).collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).rev().collect(),
        };
        let value = transposed(at, &x, &perm)?;
        Ok(vec![value])
    }),
    ("Unsqueeze", unsqueeze),
];

/// The input under another shape.
fn under_shape<'g>(at: &mut At<'_, 'g>, shape: Vec<usize>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let [there, wanted] = [&at.shape(&x), &shape].map(|shape| shape.iter().product::<usize>());
    if there != wanted {
        refuse!("{there} numbers do not fit the shape {shape:?}");
    }
    if let Some(known) = at.number(&x) {
        return at.result(known.reshaped(shape));
    }
    let (element, value) = (at.element(&x), at.computed(0)?);
    let value = at.reshaped(value, &shape)?;
    at.one(value, element)
}

/// `x` with its axes permuted.
pub fn transposed<'g>(at: &mut At<'_, 'g>, x: &Value<'g>, perm: &[usize]) -> Result<Value<'g>, Refusal> {
    let shape = at.shape(x);
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..shape.len()) {
        refuse!("{perm:?} does not permute the axes of {shape:?}");
    }
    if let Some(known) = at.number(x) {
        let permuted: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
        let from = |index: &[usize]| {
            let mut own = vec![0; index.len()];
            perm.iter().zip(index).for_each(|(&axis, &index)| own[axis] = index);
            place(own, &shape)
        };
        return Ok(Value::Known(Rc::new(known.moved(&permuted, from))));
    }
    let value = at.computed_of(x)?;
    let value = permuted(at, value, perm)?;
    Ok(Value::Computed(value, at.element(x)))
}

/// A value of the program with its axes permuted; itself, if they stay.
pub fn permuted(at: &mut At, x: ValueId, perm: &[usize]) -> Result<ValueId, Refusal> {
    if perm.is_sorted() { Ok(x) } else { at.add(Transpose { perm: perm.to_vec() }, &[x]) }
}

fn reshape<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (from, wanted) = (at.shape(&at.input(0)?), at.known(1)?.to_ints());
    let keeps_zeros = at.int("allowzero", 0) != 0;
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (index, &extent) in wanted.iter().enumerate() {
        shape.push(match (extent, from.get(index)) {
            (0, Some(&same)) if !keeps_zeros => same,
            (-1, _) if open.is_none() => {
                open = Some(index);
                1
            }
            (0.., _) => extent as usize,
            _ => refuse!("{wanted:?} is no shape"),
        });
    }
    if let Some(open) = open {
        let [all, others] = [&from, &shape].map(|shape| shape.iter().product::<usize>());
        if others == 0 || all % others != 0 {
            refuse!("{from:?} does not fit the shape {wanted:?}");
        }
        shape[open] = all / others;
    }
    under_shape(at, shape)
}

fn squeeze<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let shape = at.shape(&at.input(0)?);
    let gone = match at.ints(1)? {
        Some(axes) => axes.iter().map(|&number| axis(number, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = gone.iter().find(|&&axis| shape[axis] != 1) {
        refuse!("it squeezes axis {axis} of {shape:?}");
    }
    let kept = (0..shape.len()).filter(|axis| !gone.contains(axis)).map(|axis| shape[axis]).collect();
    under_shape(at, kept)
}

fn unsqueeze<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let shape = at.shape(&at.input(0)?);
    let axes = at.known(1)?.to_ints();
    let rank = shape.len() + axes.len();
    let new = axes.iter().map(|&number| axis(number, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut old = shape.iter().copied();
    let extent = |axis: usize| if new.contains(&axis) { Some(1) } else { old.next() };
    let shape: Option<Vec<usize>> = (0..rank).map(extent).collect();
    match shape.filter(|_| old.next().is_none()) {
        Some(shape) => under_shape(at, shape),
        None => refuse!("it names an axis of {axes:?} twice"),
    }
}

fn expand<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let from = at.shape(&x);
    let shape = broadcast(&from, &sizes(&at.known(1)?.to_ints())?)?;
    if let Some(known) = at.number(&x) {
        at.check_size(&shape)?;
        let numbers = indices(&shape).map(|index| known.broadcast_at(&index)).collect();
        return at.result(Known { element: known.element, shape, numbers });
    }
    if shape == from {
        return Ok(vec![x]);
    }
    // What is repeated is joined with itself, axis by axis.
    let mut value = at.computed(0)?;
    let mut own = vec![1; shape.len() - from.len()];
    own.extend(&from);
    value = at.reshaped(value, &own)?;
    for (index, &extent) in shape.iter().enumerate().filter(|(index, extent)| own[*index] != **extent) {
        value = repeated(at, value, index, extent)?;
    }
    at.one(value, at.element(&x))
}

/// `x`, `count` times along `axis`.
fn repeated(at: &mut At, x: ValueId, axis: usize, count: usize) -> Result<ValueId, Refusal> {
    /// A `concat` of more operands takes long to go through passes; arithmetic with zeros broadcasts as well.
    const MOST: usize = 64;
    let fact = at.fact(x).clone();
    match count {
        1 => Ok(x),
        2..=MOST => at.add(Concat { axis: axis as i64 }, &vec![x; count]),
        _ if fact.shape[axis] == 1 && fact.dtype.is_float() => {
            let mut shape = vec![1; fact.shape.len()];
            shape[axis] = count;
            at.check_size(&shape)?;
            let zeros = Known { element: at.element_of(x), numbers: vec![0.0; count], shape };
            let zeros = at.known_weight(&zeros)?;
            at.add(Binary::Add, &[x, zeros])
        }
        _ => refuse!("it repeats its input {count} times; up to {MOST} are lowered"),
    }
}

fn tile<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let (from, counts) = (at.shape(&x), sizes(&at.known(1)?.to_ints())?);
    if counts.len() != from.len() {
        refuse!("it repeats {} axes, but its input has {}", counts.len(), from.len());
    }
    if let Some(known) = at.number(&x) {
        let shape: Vec<usize> =
            from.iter().zip(&counts).map(|(&extent, &count)| extent.saturating_mul(count)).collect();
        at.check_size(&shape)?;
        return at
            .result(known.moved(&shape, |index| place(index.iter().zip(&from).map(|(i, n)| i % n), &from)));
    }
    let mut value = at.computed(0)?;
    for (axis, &count) in counts.iter().enumerate() {
        if count == 0 {
            refuse!("its result would have no elements");
        }
        value = repeated(at, value, axis, count)?;
    }
    at.one(value, at.element(&x))
}

fn concat<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let first = at.input(0)?;
    let rank = at.shape(&first).len();
    let along = axis(at.int("axis", 0), rank)?;
    if let Some(parts) = at.all_known() {
        return at.result(joined(at, &parts, along)?);
    }
    let mut parts = Vec::new();
    for index in 0..at.count() {
        let part = at.input(index)?;
        // Programs have no empty values.
        if at.shape(&part).get(along) != Some(&0) {
            parts.push(at.computed_of(&part)?);
        }
    }
    let value = at.add(Concat { axis: along as i64 }, &parts)?;
    at.one(value, at.element(&first))
}

/// Known numbers one behind the other along an axis.
fn joined(at: &At, parts: &[Rc<Known>], along: usize) -> Result<Known, Refusal> {
    let first = &parts[0];
    let mut shape = first.shape.clone();
    let alike = |part: &Rc<Known>| {
        part.shape.len() == shape.len()
            && (0..shape.len()).all(|axis| axis == along || part.shape[axis] == shape[axis])
    };
    if !parts.iter().all(alike) {
        refuse!("its inputs do not fit together along axis {along}");
    }
    shape[along] = parts.iter().map(|part| part.shape[along]).sum();
    at.check_size(&shape)?;
    let inner: usize = shape[along + 1..].iter().product();
    let outer: usize = shape[..along].iter().product();
    let mut numbers = Vec::with_capacity(shape.iter().product());
    for row in 0..outer {
        for part in parts {
            let run = part.shape[along] * inner;
            numbers.extend(&part.numbers[row * run..][..run]);
        }
    }
    Ok(Known { element: first.element, shape, numbers })
}

/// Zeros, or another number, around a tensor.
fn pad<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let (shape, pads) = (at.shape(&x), at.known(1)?.to_ints());
    let mode = at.text("mode", "constant");
    if mode != "constant" {
        refuse!("its mode `{mode}` is not lowered");
    }
    let number = match at.optional(2) {
        Some(_) => at.known(2)?.scalar().unwrap_or(0.0),
        None => 0.0,
    };
    let axes = match at.ints(3)? {
        Some(axes) => axes.iter().map(|&number| axis(number, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        refuse!("it has {} paddings for {} axes", pads.len(), axes.len());
    }
    let (before, after) = pads.split_at(axes.len());
    let mut value = at.computed(0)?;
    for ((&along, &before), &after) in axes.iter().zip(before).zip(after) {
        value = padded(at, value, along, [before, after], number)?;
    }
    at.one(value, at.element(&x))
}

/// `x` with this many times `number` before and after it along an axis.
pub fn padded(
    at: &mut At,
    x: ValueId,
    along: usize,
    pads: [i64; 2],
    number: f64,
) -> Result<ValueId, Refusal> {
    let mut parts = Vec::new();
    for (index, count) in pads.into_iter().enumerate() {
        if index == 1 {
            parts.push(x);
        }
        if count == 0 {
            continue;
        }
        let mut shape = at.fact(x).shape.to_vec();
        shape[along] = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => refuse!("it cuts off, by a padding of {count}"),
        };
        at.check_size(&shape)?;
        let numbers = vec![number; shape.iter().product()];
        let edge = Known { element: at.element_of(x), shape, numbers };
        parts.push(at.known_weight(&edge)?);
    }
    if parts.len() == 1 { Ok(x) } else { at.add(Concat { axis: along as i64 }, &parts) }
}

fn depth_to_space<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let [batch, channels, height, width] = at.shape(&x)[..] else { refuse!("its input is no picture") };
    let block = sizes(&[at.int("blocksize", 0)])?[0];
    if block == 0 || block > channels || channels % (block * block) != 0 {
        refuse!("{channels} channels do not divide into blocks of {block} × {block}");
    }
    let depth = channels / (block * block);
    let (shape, perm) = match at.text("mode", "DCR") {
        "DCR" => ([batch, block, block, depth, height, width], [0, 3, 4, 1, 5, 2]),
        _ => ([batch, depth, block, block, height, width], [0, 1, 4, 2, 5, 3]),
    };
    let value = at.computed(0)?;
    let value = at.reshaped(value, &shape)?;
    let value = permuted(at, value, &perm)?;
    let value = at.reshaped(value, &[batch, depth, height * block, width * block])?;
    at.one(value, at.element(&x))
}

fn space_to_depth<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let [batch, channels, height, width] = at.shape(&x)[..] else { refuse!("its input is no picture") };
    let block = sizes(&[at.int("blocksize", 0)])?[0];
    if block == 0 || height % block != 0 || width % block != 0 {
        refuse!("{height} × {width} does not divide into blocks of {block} × {block}");
    }
    let (rows, columns) = (height / block, width / block);
    let value = at.computed(0)?;
    let value = at.reshaped(value, &[batch, channels, rows, block, columns, block])?;
    let value = permuted(at, value, &[0, 3, 5, 1, 2, 4])?;
    let value = at.reshaped(value, &[batch, channels * block * block, rows, columns])?;
    at.one(value, at.element(&x))
}
