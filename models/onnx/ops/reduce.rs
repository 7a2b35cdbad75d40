//! Sums, means and the like along axes, and what is made of them.

use super::Group;
use super::functions::{abs, with};
use super::layout::permuted;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::known::{indices, place};
use crate::onnx::lowering::{At, Value, axis};
use crate::onnx::tensor::Known;
use reflux_ir::ValueId;
use reflux_ir::op::{Binary, Mean, Op, Reduce, Softmax, Unary};

pub const OPS: Group = &[
    ("LogSoftmax", |at| {
        let softmax = softmax(at)?;
        let [Value::Computed(value, element)] = softmax[..] else { refuse!("its input is known") };
        let value = at.add(Unary::Log, &[value])?;
        at.one(value, element)
    }),
    ("ReduceL1", |at| {
        reduced(at, None, |at, x| {
            let size = abs(at, x)?;
            at.add(Reduce::Sum, &[size])
        })
    }),
    ("ReduceLogSumExp", |at| {
        reduced(at, None, |at, x| {
            // Less the greatest number, so that no exponential overflows.
            let shape = at.fact(x).shape.to_vec();
            let largest = at.add(Reduce::Amax, &[x])?;
            let rows = [&shape[..shape.len() - 1], &[1]].concat();
            let largest_of_rows = at.reshaped(largest, &rows)?;
            let less = at.add(Binary::Sub, &[x, largest_of_rows])?;
            let exp = at.add(Unary::Exp, &[less])?;
            let sum = at.add(Reduce::Sum, &[exp])?;
            let log = at.add(Unary::Log, &[sum])?;
            at.add(Binary::Add, &[log, largest])
        })
    }),
    ("ReduceL2", |at| {
        reduced(at, None, |at, x| {
            let square = at.add(Binary::Mul, &[x, x])?;
            let sum = at.add(Reduce::Sum, &[square])?;
            at.add(Unary::Sqrt, &[sum])
        })
    }),
    ("ReduceMax", |at| reduced(at, Some(f64::max), |at, x| at.add(Reduce::Amax, &[x]))),
    ("ReduceMean", |at| reduced(at, None, mean)),
    ("ReduceMin", |at| {
        reduced(at, Some(f64::min), |at, x| {
            let negative = with(at, Binary::Mul, x, -1.0)?;
            let largest = at.add(Reduce::Amax, &[negative])?;
            with(at, Binary::Mul, largest, -1.0)
        })
    }),
    ("ReduceSum", |at| reduced(at, Some(|a, b| a + b), |at, x| at.add(Reduce::Sum, &[x]))),
    ("ReduceSumSquare", |at| {
        reduced(at, None, |at, x| {
            let square = at.add(Binary::Mul, &[x, x])?;
            at.add(Reduce::Sum, &[square])
        })
    }),
    ("Softmax", softmax),
];

/// The mean of the last axis, in the type of `x`.
pub fn mean(at: &mut At, x: ValueId) -> Result<ValueId, Refusal> {
    let element = at.element_of(x);
    let mean = at.add(Mean {}, &[x])?;
    at.cast(mean, element)
}

/// The reduction of the input along the axes that the node says; `lower` reduces the last axis, `known`, if
/// they are reduced while the graph is read, two known numbers.
fn reduced<'g>(
    at: &mut At<'_, 'g>,
    known: Option<fn(f64, f64) -> f64>,
    lower: fn(&mut At, ValueId) -> Result<ValueId, Refusal>,
) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let shape = at.shape(&x);
    let axes = match at.ints(1)? {
        Some(axes) => Some(axes),
        None => at.int_list("axes").map(<[i64]>::to_vec),
    };
    let axes = axes.filter(|axes| !axes.is_empty());
    let gone: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&number| axis(number, shape.len())).collect::<Result<_, _>>()?,
        None if at.int("noop_with_empty_axes", 0) != 0 => return Ok(vec![x]),
        None => (0..shape.len()).collect(),
    };
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !gone.contains(axis)).collect();
    let result: Vec<usize> = match at.int("keepdims", 1) != 0 {
        true => (0..shape.len()).map(|axis| if gone.contains(&axis) { 1 } else { shape[axis] }).collect(),
        false => kept.iter().map(|&axis| shape[axis]).collect(),
    };
    if let (Some(known), Some(numbers)) = (known, at.number(&x)) {
        return at.result(reduced_known(&numbers, &gone, result, known));
    }
    if !at.element(&x).is_float() {
        refuse!("it reduces integers that depend on inputs");
    }
    let element = at.element(&x);
    let mut value = at.computed(0)?;
    let order: Vec<usize> =
        kept.iter().copied().chain((0..shape.len()).filter(|axis| gone.contains(axis))).collect();
    value = permuted(at, value, &order)?;
    let mut rows: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    rows.push(gone.iter().map(|&axis| shape[axis]).product());
    value = at.reshaped(value, &rows)?;
    value = lower(at, value)?;
    value = at.reshaped(value, &result)?;
    at.one(value, element)
}

fn reduced_known(numbers: &Known, gone: &[usize], result: Vec<usize>, f: fn(f64, f64) -> f64) -> Known {
    let extents: Vec<usize> =
        numbers.shape.iter().enumerate().map(|(axis, &n)| if gone.contains(&axis) { 1 } else { n }).collect();
    let mut reduced: Vec<Option<f64>> = vec![None; extents.iter().product()];
    for (index, &number) in indices(&numbers.shape).zip(&numbers.numbers) {
        let own = index.iter().enumerate().map(|(axis, &i)| if gone.contains(&axis) { 0 } else { i });
        let slot = &mut reduced[place(own, &extents)];
        *slot = Some(slot.map_or(number, |before| numbers.element.round(f(before, number))));
    }
    let reduced = reduced.into_iter().map(|number| number.unwrap_or(0.0)).collect();
    Known { element: numbers.element, shape: result, numbers: reduced }
}

fn softmax<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let rank = at.shape(&x).len();
    let along = axis(at.int("axis", -1), rank)?;
    let mut value = at.computed(0)?;
    let mut order: Vec<usize> = (0..rank).collect();
    // Its own inverse.
    order.swap(along, rank - 1);
    value = permuted(at, value, &order)?;
    value = at.add(Op::from(Softmax {}), &[value])?;
    value = permuted(at, value, &order)?;
    at.one(value, at.element(&x))
}
