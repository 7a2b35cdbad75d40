//! Tensors as stored in files.

use super::encoding::Encoding;
use std::ops::Range;

/// Where a tensor lies, and how its bytes are to be read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub encoding: Encoding,
    pub shape: Vec<usize>,
    /// Index into the files of the weights.
    pub file: usize,
    /// The byte ranges of that file which make up the tensor, in order; each is whole rows.
    pub parts: Vec<Range<usize>>,
    /// The shape of the file's tensor that it is, or is part of.
    pub whole: Vec<usize>,
}

impl Stored {
    /// Elements of a row: of all axes but the first.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Some rows of a tensor that is in one piece and has at least one dimension; `None` if they do not begin and end where its
    /// bytes can be divided.
    pub fn rows(&self, rows: Range<usize>) -> Option<Self> {
        let (whole, width) = (&self.parts[0], self.width());
        let at = |row: usize| Some(whole.start + self.encoding.bytes(row * width)?);
        let part = at(rows.start)?..at(rows.end)?;
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        let encoding = self.encoding.rows(rows, width);
        Some(Self { encoding, shape, parts: vec![part], ..self.clone() })
    }
}
