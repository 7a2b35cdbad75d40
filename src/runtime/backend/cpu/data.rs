//! Data movement that copies only what strides cannot express.

use crate::strides::reshaped;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// `x` under another shape with the same number of elements: a view of the same memory if strides can express it, else a
/// copy.
pub fn reshape(x: &FlexTensor, shape: &[usize]) -> FlexTensor {
    let layout = x.layout();
    match strides(layout, shape) {
        Some(strides) => {
            let shape = Shape::from(shape.to_vec());
            x.clone().with_layout(Layout::new(shape, strides, layout.start_offset()))
        }
        None => x.reshape(Shape::from(shape.to_vec())),
    }
}

/// The strides that give the memory of `layout` the shape `shape`, if there are any and none of its strides is negative.
fn strides(layout: &Layout, shape: &[usize]) -> Option<Vec<isize>> {
    let own =
        layout.strides().iter().map(|&stride| usize::try_from(stride).ok()).collect::<Option<Vec<_>>>()?;
    let strides = reshaped(layout.shape(), &own, shape)?;
    Some(strides.into_iter().map(|stride| stride as isize).collect())
}

/// Concatenates the f32 `parts` along `axis`, copying contiguous runs.
pub fn concat(parts: &[FlexTensor], axis: usize) -> FlexTensor {
    let mut shape = parts[0].layout().shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    shape[axis] = parts.iter().map(|part| part.layout().shape()[axis]).sum();
    let columns = shape[axis] * inner;
    let mut y = FlexTensor::empty(Shape::from(shape), DType::F32);
    let places = y.storage_mut::<f32>();
    let mut first = 0;
    for part in parts {
        let width = part.layout().shape()[axis] * inner;
        let (values, blocks) = (part.storage::<f32>(), part.layout().strided_blocks());
        let len = blocks.block_len();
        // Where the next number goes: to a place of a row of the result.
        let (mut row, mut column) = (first, 0);
        for start in blocks.block_starts().take_while(|_| len > 0) {
            // A block is a part of a row, or several whole rows.
            let mut left = &values[start..start + len];
            while !left.is_empty() {
                let (run, rest) = left.split_at(left.len().min(width - column));
                match run {
                    // To call for a copy takes longer than the copy.
                    [number] => places[row + column] = *number,
                    run => places[row + column..][..run.len()].copy_from_slice(run),
                }
                (left, column) = (rest, column + run.len());
                if column == width {
                    (row, column) = (row + columns, 0);
                }
            }
        }
        first += width;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    fn numbers(shape: &[usize]) -> FlexTensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
        FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
    }

    fn values(x: &FlexTensor) -> Vec<f32> {
        x.to_contiguous().storage::<f32>().to_vec()
    }

    #[test]
    fn reshapes_are_views_where_strides_can_say_it() {
        let x = numbers(&[2, 6, 8]);
        // From a layout, to a shape; whether that needs no copy.
        let cases = [
            (x.clone(), vec![12, 8], true),
            (x.clone(), vec![2, 3, 1, 16], true),
            (x.narrow(2, 4, 4), vec![2, 6, 2, 2], true),
            (x.narrow(2, 4, 4), vec![12, 1, 4], true),
            (x.narrow(2, 4, 4), vec![2, 24], false),
            (x.narrow(1, 2, 3), vec![2, 24], true),
            (x.narrow(1, 2, 3), vec![6, 8], false),
            (x.transpose(1, 2), vec![2, 8, 3, 2], true),
            (x.transpose(1, 2), vec![2, 48], false),
            (numbers(&[1]), vec![1, 1], true),
            (x.narrow(1, 0, 0), vec![0, 8], false),
        ];
        for (x, shape, is_view) in cases {
            let y = reshape(&x, &shape);
            assert_eq!(y.layout().shape().to_vec(), shape);
            assert_eq!(values(&y), values(&x), "{:?} as {shape:?}", x.layout());
            assert_eq!(strides(x.layout(), &shape).is_some(), is_view, "{:?} as {shape:?}", x.layout());
        }
    }

    #[test]
    fn parts_are_taken_from_where_they_lie() {
        let x = numbers(&[2, 6, 8]);
        let cases = [
            (vec![x.clone(), x.narrow(1, 2, 3)], 1),
            (vec![x.narrow(2, 1, 3), x.narrow(2, 4, 4)], 2),
            (vec![x.transpose(1, 2), x.transpose(1, 2)], 1),
            (vec![x.narrow(2, 0, 2), x.narrow(2, 2, 6), x.narrow(2, 0, 0)], 2),
            (vec![x.narrow(1, 1, 2), x.narrow(1, 1, 2)], 0),
            (vec![reshape(&x.narrow(2, 4, 4), &[2, 6, 2, 2]), reshape(&x.narrow(2, 0, 4), &[2, 6, 2, 2])], 1),
        ];
        for (parts, axis) in cases {
            let y = concat(&parts, axis);
            let expected = burn_flex::ops::cat::cat(parts, axis);
            assert_eq!(y.layout().shape(), expected.layout().shape());
            assert_eq!(values(&y), values(&expected));
        }
    }
}
