//! The largest or the mean of what a window sees.

use super::Group;
use super::conv::Window;
use super::known_only::sizes;
use super::reduce::mean;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value};
use crate::onnx::tensor::Known;
use reflux_ir::op::{AvgPool2d, Binary, MaxPool2d, Reduce};
use reflux_ir::{Op, ValueId};

pub const OPS: Group = &[
    ("AveragePool", |at| pool(at, true)),
    ("GlobalAveragePool", |at| global(at, mean)),
    ("GlobalMaxPool", |at| global(at, |at, x| at.add(Reduce::Amax, &[x]))),
    ("MaxPool", |at| pool(at, false)),
];

fn pool<'g>(at: &mut At<'_, 'g>, is_mean: bool) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let [_, _, height, width] = at.shape(&x)[..] else { refuse!("its input is no picture") };
    let Some(&[rows, columns]) = at.int_list("kernel_shape") else {
        refuse!("its kernel is not of two axes")
    };
    let kernel: [usize; 2] = sizes(&[rows, columns])?.try_into().expect("they are two");
    if kernel[0] != kernel[1] {
        refuse!("its kernel {kernel:?} is not square");
    }
    let mut window = Window::of(at, [height, width], kernel)?;
    if window.dilation != 1 {
        refuse!("it has gaps in its window");
    }
    let has_parts = at.int("ceil_mode", 0) != 0;
    if has_parts && is_mean {
        refuse!("its windows reach beyond the picture");
    }
    if has_parts {
        // What windows see beyond the picture is never the largest, so it can be there.
        for (axis, extent) in [height, width].into_iter().enumerate() {
            window.pads[axis][1] +=
                lacking(extent as i64, window.pads[axis], kernel[axis] as i64, window.stride as i64);
        }
    }
    let is_padded = window.pads.iter().flatten().any(|&pad| pad != 0);
    let leaves_padding_out = is_mean && is_padded && at.int("count_include_pad", 0) == 0;
    let value = at.computed(0)?;
    let edge = if is_mean { 0.0 } else { at.fact(value).dtype.least() };
    let mut value = value;
    for axis in [0, 1] {
        value = super::layout::padded(at, value, axis + 2, window.pads[axis], edge)?;
    }
    let (kernel, stride) = (kernel[0], window.stride);
    let op =
        if is_mean { Op::from(AvgPool2d { kernel, stride }) } else { MaxPool2d { kernel, stride }.into() };
    let mut value = at.add(op, &[value])?;
    if leaves_padding_out {
        // The mean over what is inside of the picture, of the mean over all with zeros.
        let factors = [(0, height), (1, width)].map(|(axis, extent)| {
            let count = at.fact(value).shape[axis + 2];
            let first = |index: usize| (index * stride) as i64 - window.pads[axis][0];
            let inside =
                |index: usize| first(index).max(0)..(first(index) + kernel as i64).min(extent as i64);
            (0..count).map(|index| kernel as f64 / inside(index).count().max(1) as f64).collect::<Vec<_>>()
        });
        let numbers = factors[0].iter().flat_map(|a| factors[1].iter().map(move |b| a * b)).collect();
        let shape = vec![1, 1, factors[0].len(), factors[1].len()];
        let factors = at.known_weight(&Known { element: at.element(&x), shape, numbers })?;
        value = at.add(Binary::Mul, &[value, factors])?;
    }
    at.one(value, at.element(&x))
}

/// How much the last window reaches beyond the picture, if a window may begin wherever there is something to see.
fn lacking(extent: i64, [before, after]: [i64; 2], kernel: i64, stride: i64) -> i64 {
    let over = extent + before + after - kernel;
    let (rest, next) = (over.rem_euclid(stride.max(1)), (over.div_euclid(stride.max(1)) + 1) * stride);
    // A window that would begin behind the picture is left out.
    if rest == 0 || next >= extent + before { 0 } else { stride - rest }
}

/// `lower` of all of each channel, as one row.
fn global<'g>(
    at: &mut At<'_, 'g>,
    lower: fn(&mut At, ValueId) -> Result<ValueId, Refusal>,
) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let shape = at.shape(&x);
    let [batch, channels, extents @ ..] = &shape[..] else { refuse!("its input has no channels") };
    let value = at.computed(0)?;
    let value = at.reshaped(value, &[*batch, *channels, extents.iter().product()])?;
    let value = lower(at, value)?;
    let result: Vec<usize> = [*batch, *channels].into_iter().chain(extents.iter().map(|_| 1)).collect();
    let value = at.reshaped(value, &result)?;
    at.one(value, at.element(&x))
}
