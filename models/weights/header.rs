//! What the headers of files say, whatever the container.

use super::encoding::TensorEncoding;
use std::collections::BTreeMap;
use std::ops::Range;

/// What stands beside the tensors.
pub(crate) type Metadata = BTreeMap<String, String>;

/// What a file's header says.
pub(crate) struct FileHeader {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) metadata: Metadata,
}

/// A tensor of a file.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) encoding: TensorEncoding,
    pub(crate) shape: Vec<usize>,
    /// Within the file.
    pub(crate) bytes: Range<usize>,
}
