//! ONNX files, lowered to programs.
//!
//! | file | what it does |
//! |---|---|
//! | `file` | reads the protobuf into plain nodes and tensors, with those of `external` files |
//! | `dims` | the shapes of inputs, some of whose extents the file leaves open |
//! | `lowering` | goes through the nodes, each of which a function of `ops` lowers |
//! | `known` | computes what depends on no input: shapes, indices, masks |
//! | `names` | names of values and modules |
//! | `source` | the weights that the program reads |
//!
//! What exporters have taken apart, such as norms, activations and attention, stays apart here; rules of `canonicalize` put it
//! together.

mod dims;
mod element;
mod error;
mod external;
mod file;
mod known;
mod lowering;
mod names;
mod ops;
mod source;
mod tensor;

pub use dims::Dims;
pub use error::{OnnxError, RefusedNode};
pub use file::is_onnx;
pub use source::OnnxWeights;

use file::Graph;
use reflux_ir::Program;
use std::ops::RangeInclusive;
use std::path::Path;

/// The versions of the operator set that are read: before 13 `Squeeze` and its like had their axes as attributes.
const OPSETS: RangeInclusive<i64> = 13..=21;

/// The graph of the ONNX file at `path` as a program of one variant, `run`, which runs once, and its weights. They stay in the
/// file until they are read.
///
/// # Errors
/// If the file cannot be read or is malformed, if extents are missing in `dims`, and with all nodes that cannot be lowered.
pub fn open(path: &Path, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
    lowering::lower(path, &Graph::read(path)?, dims)
}

/// The same of a model in memory, which is called `path` in errors; its tensors in other files are looked for beside `path`.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: Vec<u8>, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
    lowering::lower(path, &Graph::parse(path, &bytes.into())?, dims)
}
