//! Nearest-neighbour upsampling, one line at a time.

use super::tiles::for_each;
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;

/// The fewest elements of the result for which another thread pays off.
const SHARE: usize = 1 << 15;

/// See [`reflux_ir::op::Upsample`]; `x` is f32 and not empty.
pub fn upsample(x: &FlexTensor, factor: usize) -> FlexTensor {
    let x = x.to_contiguous();
    let mut shape = x.layout().shape().to_vec();
    let width = shape[3];
    shape[2] *= factor;
    shape[3] *= factor;
    let mut y = FlexTensor::empty(Shape::from(shape), DType::F32);
    let of_line = width * factor * factor;
    let lines = SHARE.div_ceil(of_line);
    let parts =
        y.storage_mut::<f32>().chunks_mut(lines * of_line).zip(x.storage::<f32>().chunks(lines * width));
    for_each(
        parts.collect(),
        || (),
        |(), (y, x)| {
            for (y, line) in y.chunks_exact_mut(of_line).zip(x.chunks_exact(width)) {
                let (first, others) = y.split_at_mut(width * factor);
                for (place, &x) in first.chunks_exact_mut(factor).zip(line) {
                    place.fill(x);
                }
                others.chunks_exact_mut(width * factor).for_each(|line| line.copy_from_slice(first));
            }
        },
    );
    y
}
