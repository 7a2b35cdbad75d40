//! A tensor in place, and its rows as a program reads them.

use super::encoding::TensorEncoding;
use super::stored::Stored;
use reflux_ir::{DType, Fact, HostTensor, WeightRows};

/// A tensor in a mapped file.
#[derive(Clone, Debug)]
pub struct WeightView<'a> {
    /// The type that its numbers are read in: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: &'a [usize],
    /// Its bytes as stored, row-major, in consecutive pieces of whole rows.
    pub parts: Vec<&'a [u8]>,
    pub(super) encoding: &'a TensorEncoding,
}

impl<'a> WeightView<'a> {
    pub(super) fn new(dtype: DType, stored: &'a Stored, parts: Vec<&'a [u8]>) -> Self {
        Self { dtype, shape: &stored.shape, parts, encoding: &stored.encoding }
    }

    /// A copy of the tensor's numbers in its type.
    pub fn to_tensor(&self) -> HostTensor {
        let bytes = self.clone().rows_in(self.dtype).to_bytes();
        HostTensor::new(self.dtype, self.shape.to_vec(), bytes)
    }

    /// Its rows as a program reads them that knows the tensor as `fact`: the codes, if they are stored as just these; numbers of
    /// that type; and, if other codes are to be made of them, numbers of the view's own type.
    pub(super) fn rows_as(self, fact: &Fact) -> WeightRows<'a> {
        let coded = self.encoding.coded(self.shape).filter(|coded| fact.is_coded() && coded.same_type(fact));
        if let Some(coded) = coded {
            let scales = self.encoding.scales();
            return WeightRows::coded(coded, scales, move |first, to| self.copy_rows(first, to));
        }
        let dtype = if fact.is_coded() || !fact.dtype.is_float() { self.dtype } else { fact.dtype };
        self.rows_in(dtype)
    }

    /// Its rows as numbers of `dtype`.
    fn rows_in(self, dtype: DType) -> WeightRows<'a> {
        let fact = Fact::new(dtype, self.shape.to_vec());
        if self.shape.len() > 1 && self.encoding.bytes(self.width()).is_none() {
            let (whole, row) = (self.decoded(dtype), dtype.host_bytes(self.width()));
            return WeightRows::new(fact, move |first, to| {
                to.copy_from_slice(&whole[first * row..][..to.len()]);
            });
        }
        match self.encoding.float() == Some(dtype) {
            true => WeightRows::new(fact, move |first, to| self.copy_rows(first, to)),
            false => WeightRows::new(fact, move |first, to| self.decode_rows(dtype, first, to)),
        }
    }

    /// Elements of a row. A vector is one, or its blocks would be divided.
    fn width(&self) -> usize {
        let rows = if self.shape.len() < 2 { 0..self.shape.len() } else { 1..self.shape.len() };
        self.shape[rows].iter().product()
    }

    /// Copies the rows from `first` on as they are stored.
    fn copy_rows(&self, first: usize, to: &mut [u8]) {
        let size = self.stored_row();
        self.each_piece(first, size, to, |_, from, to| to.copy_from_slice(from));
    }

    /// Writes the rows from `first` on as the bytes of numbers of `dtype`.
    fn decode_rows(&self, dtype: DType, first: usize, to: &mut [u8]) {
        let width = self.width();
        self.each_piece(first, dtype.host_bytes(width), to, |row, from, to| {
            // Of a vector in several pieces a piece is less than a row.
            let width = width.min(to.len() / dtype.bytes());
            self.encoding.decode(from, row, width, dtype, to);
        });
    }

    /// All numbers as the bytes of `dtype`, where blocks of what was stored in another shape, or codes of odd rows, go on from one
    /// row to the next.
    fn decoded(&self, dtype: DType) -> Vec<u8> {
        let all = self.shape.iter().product();
        let mut whole = vec![0; dtype.host_bytes(all)];
        let mut to = &mut whole[..];
        for part in &self.parts {
            // An odd number of codes of four bits ends within a byte.
            let width = self.encoding.elements(part.len()).min(all);
            let (here, rest) = std::mem::take(&mut to).split_at_mut(dtype.host_bytes(width));
            if width > 0 {
                self.encoding.decode(part, 0, width, dtype, here);
            }
            to = rest;
        }
        whole
    }

    /// The bytes of a row as it is stored.
    fn stored_row(&self) -> usize {
        self.encoding.bytes(self.width()).expect("rows end where bytes do")
    }

    /// Runs `make` on each piece of the rows from `first` on that lies in one part, with the number of its first row, and on its
    /// place in `to`, where a row takes `size` bytes.
    fn each_piece(
        &self,
        first: usize,
        size: usize,
        mut to: &mut [u8],
        make: impl Fn(usize, &[u8], &mut [u8]),
    ) {
        if self.shape.len() < 2 {
            let (whole, stored) = (to.len(), self.parts.iter().map(|part| part.len()).sum::<usize>());
            for part in &self.parts {
                let share = whole * part.len() / stored.max(1);
                let (here, rest) = std::mem::take(&mut to).split_at_mut(share);
                if !here.is_empty() {
                    make(0, part, here);
                }
                to = rest;
            }
            return;
        }
        let stored = self.stored_row();
        let (mut row, mut start) = (first, 0);
        for part in &self.parts {
            let end = start + part.len() / stored.max(1);
            if row < end && !to.is_empty() {
                let count = (end - row).min(to.len() / size);
                let (here, rest) = std::mem::take(&mut to).split_at_mut(count * size);
                make(row, &part[(row - start) * stored..][..count * stored], here);
                (row, to) = (row + count, rest);
            }
            start = end;
        }
    }
}
