//! Enlarging and reducing.

use super::Group;
use super::known_only::sizes;
use super::layout::permuted;
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value, axis};
use crate::onnx::tensor::Known;
use reflux_ir::op::{Linear, Upsample};
use reflux_ir::{Op, ValueId};

pub const OPS: Group = &[("Resize", resize)];

/// Along each axis a new number is a sum of old ones with fixed weights, so resizing is a product with a matrix for each axis; but
/// for whole factors of the nearest.
fn resize<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let x = at.input(0)?;
    let (shape, element) = (at.shape(&x), at.element(&x));
    let given = |index: usize| match at.optional(index) {
        Some(value) if at.shape(&value) != [0] => at.known(index).map(Some),
        _ => Ok(None),
    };
    if at.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
        refuse!("it keeps the ratio of its sides");
    }
    let axes = match at.int_list("axes") {
        Some(axes) => axes.iter().map(|&number| axis(number, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let (mut result, mut scales) = (shape.clone(), vec![1.0; shape.len()]);
    match (given(3)?, given(2)?) {
        (Some(extents), _) if extents.numbers.len() == axes.len() => {
            for (&axis, extent) in axes.iter().zip(sizes(&extents.to_ints())?) {
                (result[axis], scales[axis]) = (extent, extent as f64 / shape[axis] as f64);
            }
        }
        (None, Some(factors)) if factors.numbers.len() == axes.len() => {
            for (&axis, &factor) in axes.iter().zip(&factors.numbers) {
                // In f32, as the factor is written: a third of nine is three.
                (result[axis], scales[axis]) =
                    ((shape[axis] as f32 * factor as f32).floor() as usize, factor);
            }
        }
        _ => refuse!("it says neither a scale nor a size for each axis"),
    }
    if result.contains(&0) {
        refuse!("{shape:?} cannot be resized to {result:?}");
    }
    let mut value = at.computed(0)?;
    let is_nearest_below = at.text("mode", "nearest") == "nearest"
        && at.text("coordinate_transformation_mode", "half_pixel") == "asymmetric"
        && at.text("nearest_mode", "round_prefer_floor") == "floor";
    if let ([batch, channels, height, width], [new_batch, new_channels, new_height, new_width]) =
        (&shape[..], &result[..])
        && is_nearest_below
        && [batch, channels] == [new_batch, new_channels]
        && new_height.is_multiple_of(*height)
        && new_height / height == new_width / width
        && new_width.is_multiple_of(*width)
    {
        value = at.add(Upsample { factor: new_height / height }, &[value])?;
        return at.one(value, element);
    }
    for axis in (0..shape.len()).filter(|&axis| shape[axis] != result[axis]) {
        at.check_size(&[result[axis], shape[axis]])?;
        let rows = Sampling::of(at, shape[axis], result[axis], scales[axis])?.rows();
        value = along(at, value, axis, element, [result[axis], shape[axis]], rows)?;
    }
    at.one(value, element)
}

/// The product of `x` along an axis with the matrix of these rows.
fn along(
    at: &mut At,
    x: ValueId,
    axis: usize,
    element: Element,
    shape: [usize; 2],
    rows: Vec<f64>,
) -> Result<ValueId, Refusal> {
    let matrix = at.known_weight(&Known { element, shape: shape.to_vec(), numbers: rows })?;
    let rank = at.fact(x).shape.len();
    let mut order: Vec<usize> = (0..rank).collect();
    // Its own inverse.
    order.swap(axis, rank - 1);
    let x = permuted(at, x, &order)?;
    let x = at.add(Op::from(Linear {}), &[x, matrix])?;
    permuted(at, x, &order)
}

/// Which old numbers a new one is made of, along one axis.
struct Sampling<'g> {
    old: usize,
    new: usize,
    /// New extent by old extent, as the file says it.
    scale: f64,
    coordinates: &'g str,
    mode: &'g str,
    nearest: &'g str,
    cubic: f64,
    /// Whether more old numbers are read where there are fewer new ones.
    antialias: bool,
    /// Whether what is outside of the old numbers counts for nothing. If not, the first and the last are there too.
    exclude_outside: bool,
}

impl<'g> Sampling<'g> {
    fn of(at: &At<'_, 'g>, old: usize, new: usize, scale: f64) -> Result<Self, Refusal> {
        let sampling = Self {
            old,
            new,
            scale,
            coordinates: at.text("coordinate_transformation_mode", "half_pixel"),
            mode: at.text("mode", "nearest"),
            nearest: at.text("nearest_mode", "round_prefer_floor"),
            cubic: at.float("cubic_coeff_a", -0.75).into(),
            antialias: at.int("antialias", 0) != 0,
            exclude_outside: at.int("exclude_outside", 0) != 0,
        };
        let is_known = matches!(sampling.mode, "nearest" | "linear" | "cubic")
            && matches!(
                sampling.coordinates,
                "half_pixel" | "pytorch_half_pixel" | "align_corners" | "asymmetric"
            );
        match is_known {
            true if sampling.has_ties() => {
                refuse!("which of two neighbours is the nearest depends on rounding; let it round down")
            }
            true => Ok(sampling),
            false => refuse!("its mode {} with {} is not lowered", sampling.mode, sampling.coordinates),
        }
    }

    /// Whether some place is so near to the middle of two old numbers that which is the nearest depends on how places are rounded.
    fn has_ties(&self) -> bool {
        let is_tie = |index: usize| {
            let exact = index as f64 * self.old as f64 / self.new as f64;
            (self.place(index).fract() - 0.5).abs() < 1e-5 && self.place(index) != exact
        };
        self.mode == "nearest"
            && self.coordinates == "asymmetric"
            && self.nearest.starts_with("round")
            && (0..self.new).any(is_tie)
    }

    /// Where new number `index` is among the old ones. In f32, as onnxruntime has it: which one is nearest depends on the rounding.
    fn place(&self, index: usize) -> f64 {
        let (index, scale) = (index as f32, self.scale as f32);
        let place = match self.coordinates {
            "asymmetric" => index / scale,
            "align_corners" if self.new == 1 => 0.0,
            "align_corners" => index * (self.old - 1) as f32 / (self.new - 1) as f32,
            "pytorch_half_pixel" if self.new == 1 => 0.0,
            _ => (index + 0.5) / scale - 0.5,
        };
        place.into()
    }

    /// The weights of the old numbers in each new one, row by row.
    fn rows(&self) -> Vec<f64> {
        let mut rows = vec![0.0; self.new.saturating_mul(self.old)];
        let inside = 0..self.old as i64;
        for (index, row) in rows.chunks_mut(self.old).enumerate() {
            let mut weights = self.weights(self.place(index));
            if self.exclude_outside && self.mode != "nearest" {
                weights.retain(|(place, _)| inside.contains(place));
            }
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            for (place, weight) in weights {
                row[place.clamp(0, inside.end - 1) as usize] += weight / sum;
            }
        }
        rows
    }

    /// Old numbers and their weights in the one at `place`; some may be outside, where the nearest stands for them.
    fn weights(&self, place: f64) -> Vec<(i64, f64)> {
        let reach = match self.mode {
            "nearest" => {
                let nearest = match self.nearest {
                    "floor" => place.floor(),
                    "ceil" => place.ceil(),
                    "round_prefer_ceil" => (place + 0.5).floor(),
                    _ => (place - 0.5).ceil(),
                };
                return vec![(nearest as i64, 1.0)];
            }
            "linear" => 1.0,
            _ => 2.0,
        };
        let stretch = if self.antialias { (1.0 / self.scale).max(1.0) } else { 1.0 };
        let reach = reach * stretch;
        let reached = (place - reach).floor() as i64..=(place + reach).ceil() as i64;
        let weigh = |old: i64| (old, self.filter((old as f64 - place).abs() / stretch));
        reached.map(weigh).filter(|(_, weight)| *weight != 0.0).collect()
    }

    /// The weight of an old number at this distance from a new one.
    fn filter(&self, x: f64) -> f64 {
        let a = self.cubic;
        match self.mode {
            "linear" => (1.0 - x).max(0.0),
            // R. Keys, Cubic convolution interpolation for digital image processing, 1981.
            _ if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            _ => 0.0,
        }
    }
}
