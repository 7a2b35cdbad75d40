//! Tensors as stored in files.

use safetensors::Dtype;
use std::ops::Range;

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Index into the files of the weights.
    pub file: usize,
    /// The byte ranges of that file which make up the tensor, in order.
    pub parts: Vec<Range<usize>>,
    /// The shape of the file's tensor that it is, or is part of.
    pub whole: Vec<usize>,
}
