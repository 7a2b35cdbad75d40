//! Nodes of ONNX graphs, as plain values.

use super::tensor::Tensor;
use std::collections::BTreeMap;

/// The most nodes of a graph.
pub const MOST_NODES: usize = 1 << 20;

/// An operation.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// With its domain, if that is not ONNX's own.
    pub op: String,
    /// Empty, where an optional input is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: BTreeMap<String, Attribute>,
    /// The modules that it is in, outermost first, as `torch.export` writes them.
    pub scopes: Option<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Tensor),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// In a function, the attribute of this name that the call has.
    OfCall(String),
    /// Graphs, sparse tensors and the like.
    Other,
}
