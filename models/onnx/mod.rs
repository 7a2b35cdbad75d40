//! ONNX files, lowered to programs.
//!
//! | file | what it does |
//! |---|---|
//! | `file` | reads the protobuf into plain nodes and tensors, with those of `external` files |
//! | `node` | nodes as plain values |
//! | `inlining` | puts the nodes of functions in the place of their calls |
//! | `dims` | the shapes of inputs, some of whose extents the file leaves open |
//! | `lowering` | goes through the nodes, each of which a function of `ops` lowers |
//! | `known` | computes what depends on no input: shapes, indices, masks |
//! | `names` | names of values and modules |
//! | `source` | the weights that the program reads |
//! | `export` | the other way: programs as ONNX files |
//!
//! What exporters have taken apart, such as norms, activations and attention, stays apart here; the pass `raise` puts it together.

mod dims;
mod element;
mod error;
pub mod export;
mod external;
mod file;
mod inlining;
mod known;
mod lowering;
mod names;
mod node;
mod ops;
mod source;
mod tensor;

pub use dims::Dims;
pub use error::{OnnxError, RefusedNode};
pub use file::is_onnx;
pub use source::OnnxWeights;

use file::{Dim, Graph, Input};
use reflux_ir::{DType, Program};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The versions of the operator set that are read: before 13 `Squeeze` and its like had their axes as attributes.
const OPSETS: RangeInclusive<i64> = 13..=21;

/// The graph of the ONNX file at `path` as a program of one variant, `run`, which runs once, and its weights. They stay in the
/// file until they are read.
///
/// # Errors
/// If the file cannot be read or is malformed, if extents are missing in `dims`, and with all nodes that cannot be lowered.
pub fn open(path: &Path, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
    OnnxModel::open(path)?.lower(dims)
}

/// The same of a model in memory, which is called `path` in errors; its tensors in other files are looked for beside `path`.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: Vec<u8>, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
    lowering::lower(path, &Graph::parse(path, &bytes.into())?, dims)
}

/// An ONNX file that has been read, but not lowered: the extents that it leaves open may depend on what inputs it has.
#[derive(Debug)]
pub struct OnnxModel {
    path: PathBuf,
    graph: Graph,
}

/// An input, as the file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxInput {
    pub name: String,
    /// As programs have it: `bool` is `f32`, and integers are `i32`.
    pub dtype: DType,
    pub axes: Vec<OnnxAxis>,
}

/// An axis of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnnxAxis {
    Fixed(usize),
    /// Left open, under the name by which [`Dims::extents`] gives its extent.
    Open(String),
}

impl OnnxModel {
    /// Reads the file at `path`, but not its tensors.
    ///
    /// # Errors
    /// If it cannot be read or is malformed.
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        Ok(Self { path: path.to_owned(), graph: Graph::read(path)? })
    }

    /// What it has to be given.
    pub fn inputs(&self) -> Vec<OnnxInput> {
        let axis = |input: &Input, axis: usize| match input.dims[axis] {
            Dim::Fixed(extent) => OnnxAxis::Fixed(extent),
            Dim::Named(_) => OnnxAxis::Open(dims::name_of(input, axis)),
        };
        let declared = |input: &Input| OnnxInput {
            name: input.name.clone(),
            dtype: input.element.dtype(),
            axes: (0..input.dims.len()).map(|index| axis(input, index)).collect(),
        };
        self.graph.inputs.iter().map(declared).collect()
    }

    /// The files that it consists of.
    pub fn files(&self) -> Vec<PathBuf> {
        [vec![self.path.clone()], self.graph.files.clone()].concat()
    }

    /// The program, as of [`open`].
    ///
    /// # Errors
    /// If extents are missing in `dims`, and with all nodes that cannot be lowered.
    pub fn lower(&self, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
        lowering::lower(&self.path, &self.graph, dims)
    }
}
