//! Convolutions.

use super::Group;
use super::known_only::sizes;
use super::layout::{padded, permuted};
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value};
use crate::onnx::tensor::Tensor;
use reflux_ir::ValueId;
use reflux_ir::op::{Conv2d, Linear};

pub const OPS: Group = &[("Conv", conv)];

/// What a window over pictures does, for both axes.
pub struct Window {
    pub stride: usize,
    pub dilation: usize,
    /// Before each axis, and after each.
    pub pads: [[i64; 2]; 2],
}

impl Window {
    /// The window of `at` over pictures of `extents`, whose kernel is `kernel` unless the node says it.
    pub fn of(at: &At, extents: [usize; 2], kernel: [usize; 2]) -> Result<Self, Refusal> {
        let pair = |name: &str, default: i64| -> Result<[usize; 2], Refusal> {
            match sizes(at.int_list(name).unwrap_or(&[default, default]))?[..] {
                [one] => Ok([1, one]),
                [first, second] => Ok([first, second]),
                _ => refuse!("its {name} are not of two axes"),
            }
        };
        let equal = |name: &str| match pair(name, 1)? {
            [first, second] if first == second || (extents[0] == 1 && kernel[0] == 1) => Ok(second),
            _ => refuse!("its {name} differ between axes"),
        };
        let (stride, dilation) = (equal("strides")?, equal("dilations")?);
        let pads = match at.text("auto_pad", "NOTSET") {
            "NOTSET" => match at.int_list("pads") {
                None => [[0; 2]; 2],
                Some(&[before, after]) if extents[0] == 1 && kernel[0] == 1 => [[0, 0], [before, after]],
                Some(&[top, left, bottom, right]) => [[top, bottom], [left, right]],
                Some(_) => refuse!("its pads are not of two axes"),
            },
            "VALID" => [[0; 2]; 2],
            mode @ ("SAME_UPPER" | "SAME_LOWER") => [0, 1].map(|axis| {
                let last = (extents[axis].div_ceil(stride.max(1)) - 1).saturating_mul(stride);
                let reach = kernel[axis].saturating_sub(1).saturating_mul(dilation).saturating_add(1);
                let all = last.saturating_add(reach).saturating_sub(extents[axis]) as i64;
                let (less, more) = (all / 2, all - all / 2);
                if mode == "SAME_UPPER" { [less, more] } else { [more, less] }
            }),
            other => refuse!("its auto_pad `{other}` is not known"),
        };
        Ok(Self { stride, dilation, pads })
    }

    /// The padding, if it is the same on all sides.
    pub fn even_padding(&self) -> Option<usize> {
        let first = self.pads[0][0];
        let is_even = self.pads.iter().flatten().all(|&pad| pad == first);
        usize::try_from(first).ok().filter(|_| is_even)
    }

    /// `x` with `number` around it, and the padding that is left for the op.
    pub fn padded(&self, at: &mut At, x: ValueId, number: f64) -> Result<(ValueId, usize), Refusal> {
        if let Some(padding) = self.even_padding() {
            return Ok((x, padding));
        }
        let x = padded(at, x, 2, self.pads[0], number)?;
        Ok((padded(at, x, 3, self.pads[1], number)?, 0))
    }
}

fn conv<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let (x, given_weight) = (at.input(0)?, at.input(1)?);
    let (shape, kernel) = (at.shape(&x), at.shape(&given_weight));
    if at
        .int_list("kernel_shape")
        .is_some_and(|said| !said.iter().map(|&extent| extent as usize).eq(kernel.iter().skip(2).copied()))
    {
        refuse!("its kernel_shape is not the shape of its weight, {kernel:?}");
    }
    let groups = sizes(&[at.int("group", 1)])?[0];
    if let (Some(side), 1, Value::Tensor(name, tensor)) =
        (side_of_patches(at, &shape, &kernel)?, groups, &given_weight)
    {
        let value = of_patches(at, side, name, tensor)?;
        return at.one(value, at.element(&x));
    }
    let mut value = at.computed(0)?;
    let mut weight = at.computed(1)?;
    // Over one axis, it is a convolution of pictures of one row.
    let is_line = shape.len() == 3;
    if is_line {
        value = at.reshaped(value, &[shape[0], shape[1], 1, shape[2]])?;
        weight = at.reshaped(weight, &[kernel[0], kernel[1], 1, kernel[2]])?;
    }
    let (Some(&[_, _, height, width]), Some(&[_, _, rows, columns])) =
        (at.fact(value).shape.first_chunk::<4>(), at.fact(weight).shape.first_chunk::<4>())
    else {
        refuse!("its input has {} axes; convolutions over one and two are lowered", shape.len())
    };
    let window = Window::of(at, [height, width], [rows, columns])?;
    let (value, padding) = window.padded(at, value, 0.0)?;
    let op = Conv2d { padding, stride: window.stride, dilation: window.dilation, groups };
    let mut operands = vec![value, weight];
    if at.optional(2).is_some() {
        operands.push(at.computed(2)?);
    }
    let mut value = at.add(op, &operands)?;
    if is_line {
        let shape = at.fact(value).shape.to_vec();
        value = at.reshaped(value, &[shape[0], shape[1], shape[3]])?;
    }
    at.one(value, at.element(&x))
}

/// The side of a kernel of `kernel` if those over a picture of `shape` lie side by side and leave nothing out.
fn side_of_patches(at: &At, shape: &[usize], kernel: &[usize]) -> Result<Option<usize>, Refusal> {
    let (&[_, _, height, width], &[_, _, rows, columns]) = (shape, kernel) else { return Ok(None) };
    let window = Window::of(at, [height, width], [rows, columns])?;
    let side = window.stride;
    let are_apart = window.even_padding() == Some(0) && [rows, columns, window.dilation] == [side, side, 1];
    let are_all = side > 1 && height.is_multiple_of(side) && width.is_multiple_of(side);
    Ok((are_apart && are_all).then_some(side))
}

/// The convolution whose kernels lie side by side: a linear of patches, as vision transformers begin with.
fn of_patches<'g>(
    at: &mut At<'_, 'g>,
    side: usize,
    name: &'g str,
    weight: &Tensor,
) -> Result<ValueId, Refusal> {
    let x = at.computed(0)?;
    let &[batch, channels, height, width] = at.fact(x).shape.first_chunk::<4>().expect("it is a picture");
    let (rows, columns, out) = (height / side, width / side, weight.shape[0]);
    let patches = at.reshaped(x, &[batch, channels, rows, side, columns, side])?;
    let patches = permuted(at, patches, &[0, 2, 4, 1, 3, 5])?;
    let patches = at.reshaped(patches, &[batch, rows * columns, channels * side * side])?;
    let matrix = Tensor { shape: vec![out, channels * side * side], ..weight.clone() };
    let mut operands = vec![patches, at.weight(name, &matrix, false)?];
    if at.optional(2).is_some() {
        operands.push(at.computed(2)?);
    }
    let tokens = at.add(Linear {}, &operands)?;
    let turned = permuted(at, tokens, &[0, 2, 1])?;
    at.reshaped(turned, &[batch, out, rows, columns])
}
