//! A tensor in place, and copies of it.

use super::encoding::TensorEncoding;
use super::stored::Stored;
use super::widen;
use rayon::prelude::*;
use reflux_ir::{DType, HostTensor};

/// Bytes that one thread copies: reading from the file, and memory that is new, is what takes the time.
const SHARE: usize = 1 << 20;

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

    /// The same, but that codes are read as numbers of `dtype`, if that is a float: what is wanted, without a copy in f32.
    pub(super) fn reading_codes_as(mut self, dtype: DType) -> Self {
        let is_decoded = !matches!(self.encoding, TensorEncoding::Elements(_));
        if is_decoded && dtype.is_float() {
            self.dtype = dtype;
        }
        self
    }

    /// A copy of its bytes as stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut copy = vec![0; self.parts.iter().map(|part| part.len()).sum()];
        self.each_part(
            &mut copy,
            |bytes| bytes,
            |part, to| {
                let pieces = to.par_chunks_mut(SHARE).zip(part.par_chunks(SHARE));
                pieces.for_each(|(to, from)| to.copy_from_slice(from));
            },
        );
        copy
    }

    /// A copy of the tensor's numbers in its type.
    pub fn to_tensor(&self) -> HostTensor {
        let copy = match self.encoding {
            TensorEncoding::Elements(dtype) => match widen::codes(*dtype) {
                None => self.to_bytes(),
                Some(codes) => {
                    let mut copy = vec![0; self.size()];
                    self.each_part(
                        &mut copy,
                        |bytes| 2 * bytes,
                        |part, to| widen::widen(codes, part, to, SHARE),
                    );
                    copy
                }
            },
            TensorEncoding::Blocks(_) | TensorEncoding::Scaled { .. } | TensorEncoding::Looked(_) => {
                self.decoded()
            }
        };
        HostTensor::new(self.dtype, self.shape.to_vec(), copy)
    }

    /// The bytes of its numbers, from codes.
    fn decoded(&self) -> Vec<u8> {
        let mut copy = vec![0; self.size()];
        let mut row = 0;
        // An odd number of codes of four bits ends within a byte.
        let all = self.shape.iter().product();
        let elements = |bytes| self.encoding.elements(bytes).min(all);
        let size = |bytes| self.dtype.host_bytes(elements(bytes));
        self.each_part(&mut copy, size, |part, to| {
            let elements = elements(part.len());
            // A vector is a row, or its blocks would be divided.
            let width = if self.shape.len() < 2 { elements } else { self.shape[1..].iter().product() };
            // Blocks of what was stored in another shape, and codes of odd rows, go on from one row to the next.
            let width = self.encoding.bytes(width).map_or(elements, |_| width);
            // Of nothing, rows may be of any width.
            if elements > 0 {
                self.encoding.decode(part, row, width, self.dtype, to);
                row += elements / width;
            }
        });
        copy
    }

    /// Bytes of its numbers.
    fn size(&self) -> usize {
        self.dtype.host_bytes(self.shape.iter().product())
    }

    /// Runs `make` on each part and on its place in `whole`, of which it takes `size` bytes for its own.
    fn each_part(
        &self,
        whole: &mut [u8],
        size: impl Fn(usize) -> usize,
        mut make: impl FnMut(&[u8], &mut [u8]),
    ) {
        let mut rest = whole;
        for part in &self.parts {
            let (to, after) = rest.split_at_mut(size(part.len()));
            rest = after;
            make(part, to);
        }
    }
}
