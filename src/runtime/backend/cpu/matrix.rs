//! Views of tensors as matrices, without copying.

use burn::tensor::Element;
use burn_flex::FlexTensor;
use bytemuck::Pod;
use std::ops::Range;

/// Rows of numbers, each contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// The distance between the starts of neighbouring rows.
    stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `rows` rows of `columns` numbers, `stride` apart, from the start of `values` on.
    pub fn new(values: &'a [T], [rows, columns]: [usize; 2], stride: usize) -> Self {
        Self { values, rows, columns, stride }
    }

    #[inline(always)]
    pub fn row(self, index: usize) -> &'a [T] {
        &self.values[index * self.stride..][..self.columns]
    }

    /// Some of the rows.
    pub fn rows(self, range: Range<usize>) -> Self {
        Self { values: &self.values[range.start * self.stride..], rows: range.len(), ..self }
    }
}

impl<'a, T: Element + Pod> Matrix<'a, T> {
    /// The rows along the last axis of `tensor`, if they are contiguous and evenly spaced, as in a slice of rows or of
    /// columns.
    pub fn of(tensor: &'a FlexTensor) -> Option<Self> {
        let layout = tensor.layout();
        let (&columns, leading) = layout.shape().split_last()?;
        let (&step, strides) = layout.strides().split_last()?;
        if columns == 0 || step != 1 && columns > 1 {
            return None;
        }
        // From the innermost axis outwards, the stride of each must be the size of the one before.
        let (mut rows, mut stride) = (1, columns as isize);
        for (&extent, &own) in leading.iter().zip(strides).rev().filter(|(extent, _)| **extent != 1) {
            if rows == 1 {
                stride = own;
            } else if own != stride * rows as isize {
                return None;
            }
            rows *= extent;
        }
        let stride = usize::try_from(stride).ok()?;
        Some(Self::new(&tensor.storage::<T>()[layout.start_offset()..], [rows, columns], stride))
    }
}
