//! Parts of tensors.

use super::Group;
use super::entries::{part, taken};
use super::known_only::sizes;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::place;
use crate::onnx::lowering::{At, Value, axis};

pub const OPS: Group = &[("Slice", slice), ("Split", split)];

fn slice<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let mut x = at.input(0)?;
    let shape = at.shape(&x);
    let (starts, ends) = (at.known(1)?.to_ints(), at.known(2)?.to_ints());
    let axes = at.ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = at.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        refuse!("its starts, ends, axes and steps are not as many each");
    }
    let mut sorted = axes.iter().map(|&number| axis(number, shape.len())).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        refuse!("it names an axis of {axes:?} twice");
    }
    for (((start, end), number), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let along = axis(number, shape.len())?;
        let places = places(start, end, step, shape[along])?;
        x = taken_places(at, &x, along, &places)?;
    }
    Ok(vec![x])
}

/// The places from `start` to `end` in steps of `step`, of an axis of `extent`, as numpy counts them.
fn places(start: i64, end: i64, step: i64, extent: usize) -> Result<Vec<usize>, Refusal> {
    let extent = extent as i64;
    let from_front = |number: i64| if number < 0 { number.saturating_add(extent) } else { number };
    Ok(match step {
        0 => refuse!("its step is zero"),
        1.. => {
            let (start, end) = (from_front(start).clamp(0, extent), from_front(end).clamp(0, extent));
            let step = usize::try_from(step).unwrap_or(usize::MAX);
            (start.min(end) as usize..end as usize).step_by(step).collect()
        }
        _ => {
            let (start, end) =
                (from_front(start).clamp(-1, extent - 1), from_front(end).clamp(-1, extent - 1));
            let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
            ((end + 1)..=start).rev().step_by(step).map(|place| place as usize).collect()
        }
    })
}

/// The elements at `places` along an axis, of numbers that are known or computed.
fn taken_places<'g>(
    at: &mut At<'_, 'g>,
    x: &Value<'g>,
    along: usize,
    places: &[usize],
) -> Result<Value<'g>, Refusal> {
    let mut shape = at.shape(x);
    if let Some(known) = at.number(x) {
        let from = known.shape.clone();
        shape[along] = places.len();
        let own = |index: &[usize]| {
            place(index.iter().enumerate().map(|(axis, &i)| if axis == along { places[i] } else { i }), &from)
        };
        return Ok(Value::Known(known.moved(&shape, own).into()));
    }
    let [first, ..] = places else { refuse!("its result has no elements") };
    let element = at.element(x);
    let value = at.computed_of(x)?;
    let is_range = places.iter().copied().eq(*first..first + places.len());
    let value = match is_range {
        true => part(at, value, along, *first, first + places.len())?,
        false => taken(at, value, along, places)?,
    };
    Ok(Value::Computed(value, element))
}

fn split<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let shape = at.shape(&x);
    let along = axis(at.int("axis", 0), shape.len())?;
    let extents = match at.ints(1)? {
        Some(extents) => sizes(&extents)?,
        None => {
            let count = at.node.outputs.len();
            let each = shape[along].div_ceil(count.max(1));
            (0..count).map(|index| each.min(shape[along].saturating_sub(index * each))).collect()
        }
    };
    if extents.iter().sum::<usize>() != shape[along] {
        refuse!("{extents:?} do not add up to the extent {} of axis {along}", shape[along]);
    }
    let mut values = Vec::with_capacity(extents.len());
    let mut start = 0;
    for extent in extents {
        let places: Vec<usize> = (start..start + extent).collect();
        values.push(taken_places(at, &x, along, &places)?);
        start += extent;
    }
    Ok(values)
}
