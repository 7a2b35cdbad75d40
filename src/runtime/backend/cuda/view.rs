//! Addresses and strides of values on the device.

use crate::strides::reshaped;
use reflux_ir::DType;
use std::ops::Range;

/// A part of a buffer, seen as a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The buffer's index in its plan.
    pub buffer: usize,
    /// In elements, from the start of the buffer.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// In elements.
    pub strides: Vec<usize>,
    pub dtype: DType,
}

impl View {
    /// All of a buffer, in row-major order.
    pub fn whole(buffer: usize, shape: &[usize], dtype: DType) -> Self {
        Self::ordered(buffer, shape, dtype, &(0..shape.len()).collect::<Vec<_>>())
    }

    /// Elements `start..end` along `axis`.
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Self {
        let mut part = self.clone();
        part.offset += start * self.strides[axis];
        part.shape[axis] = end - start;
        part
    }

    /// The elements in `range` along `axis`.
    pub fn range(&self, axis: usize, range: &Range<usize>) -> Self {
        self.slice(axis, range.start, range.end)
    }

    /// A dense tensor whose axes are in memory in this order, the outermost first.
    pub fn ordered(buffer: usize, shape: &[usize], dtype: DType, order: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        let mut size = 1;
        for &axis in order.iter().rev() {
            strides[axis] = size;
            size *= shape[axis];
        }
        Self { buffer, offset: 0, shape: shape.to_vec(), strides, dtype }
    }

    /// The axes in memory order, the outermost first; axes of equal stride keep their order.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.shape.len()).collect();
        // Along an axis of extent 1, the stride does not matter.
        let key = |axis: usize| if self.shape[axis] == 1 { usize::MAX } else { self.strides[axis] };
        order.sort_by_key(|&axis| std::cmp::Reverse(key(axis)));
        order
    }

    /// The view with axis `perm[i]` as axis i.
    pub fn permuted(&self, perm: &[usize]) -> Self {
        let of = |from: &[usize]| perm.iter().map(|&axis| from[axis]).collect();
        Self { shape: of(&self.shape), strides: of(&self.strides), ..self.clone() }
    }

    /// The view with leading axes of extent 1, up to `rank` axes in all.
    pub fn with_rank(&self, rank: usize) -> Self {
        let added = rank - self.shape.len();
        let led =
            |by: usize, rest: &[usize]| std::iter::repeat_n(by, added).chain(rest.iter().copied()).collect();
        Self { shape: led(1, &self.shape), strides: led(0, &self.strides), ..self.clone() }
    }

    /// The same elements under another shape, if that is possible without copying.
    pub fn reshape(&self, shape: &[usize]) -> Option<Self> {
        let strides = reshaped(&self.shape, &self.strides, shape)?;
        Some(Self { shape: shape.to_vec(), strides, ..self.clone() })
    }

    /// The strides when broadcast to `shape`, 0 along axes that repeat.
    pub fn broadcast(&self, shape: &[usize]) -> Vec<usize> {
        let added = shape.len() - self.shape.len();
        let own = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(&extent, &stride)| if extent == 1 { 0 } else { stride });
        std::iter::repeat_n(0, added).chain(own).collect()
    }

    /// Whether it is row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.is_same_place(&Self { offset: self.offset, ..Self::whole(self.buffer, &self.shape, self.dtype) })
    }

    /// Whether both views are the same elements in the same order; strides along axes of extent 1 do not matter.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let matter = |view: &Self| -> Vec<usize> {
            let strides = view.strides.iter().zip(&view.shape).filter(|(_, extent)| **extent != 1);
            strides.map(|(&stride, _)| stride).collect()
        };
        (self.buffer, self.offset, &self.shape, matter(self))
            == (other.buffer, other.offset, &other.shape, matter(other))
    }

    /// The view as a matrix over the last axis: rows, columns and the distance between rows, if that is constant.
    pub fn rows(&self) -> Option<[usize; 3]> {
        let (&columns, leading) = self.shape.split_last()?;
        let rows: usize = leading.iter().product();
        let flat = self.reshape(&[rows, columns])?;
        (flat.strides[1] == 1 || columns == 1).then_some([rows, columns, flat.strides[0]])
    }
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub buffer: usize,
    /// In bytes, from the start of the buffer.
    pub offset: usize,
}

impl Pointer {
    /// The first element of a view.
    pub fn to(view: &View) -> Self {
        Self { buffer: view.buffer, offset: view.dtype.stored_bytes(view.offset) }
    }

    /// The address, given that of each buffer.
    pub fn address(&self, bases: &[u64]) -> u64 {
        bases[self.buffer] + self.offset as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_seen_under_other_shapes_where_they_can() {
        let whole = View::whole(0, &[2, 8, 96], DType::BF16);
        let heads = whole.slice(2, 32, 64).reshape(&[2, 8, 4, 8]).unwrap();
        assert_eq!((heads.offset, heads.strides.clone()), (32, vec![768, 96, 8, 1]));
        assert!(!heads.is_contiguous());
        assert_eq!(heads.reshape(&[2, 8, 32]).unwrap(), whole.slice(2, 32, 64));
        assert_eq!(heads.reshape(&[16, 4, 8]).unwrap().strides, [96, 8, 1]);
        // Channels last: pixels are contiguous, as are their channels.
        let pixels = View::ordered(0, &[1, 8, 4, 6], DType::BF16, &[0, 2, 3, 1]);
        assert_eq!((&pixels.strides[..], pixels.order()), (&[192, 1, 48, 8][..], vec![0, 2, 3, 1]));
        let tokens = pixels.reshape(&[1, 8, 24]).unwrap().permuted(&[0, 2, 1]);
        assert!(tokens.is_contiguous());
        assert_eq!(View::whole(0, &[5], DType::F32).with_rank(3).broadcast(&[2, 4, 5]), [0, 0, 1]);
        // Rows of a slice are not contiguous.
        assert_eq!(heads.reshape(&[2, 256]), None);
        assert_eq!(whole.slice(1, 2, 4).rows(), None);
        assert_eq!(View::whole(0, &[1, 8, 96], DType::F32).slice(1, 2, 4).rows(), Some([2, 96, 96]));
        assert_eq!(View::whole(0, &[1, 1, 5], DType::F32).broadcast(&[3, 4, 5]), [0, 0, 1]);
    }
}
