//! ONNX files: protobuf, read by the parser of `onnx-ir`, as plain nodes and tensors.
//!
//! Of `onnx-ir` only the protobuf messages are used. What it makes of them has other names for nodes and values, folds scales and
//! biases away, and panics where a file is malformed.

use super::OPSETS;
use super::element::Element;
use super::error::OnnxError;
use super::external::{Beside, mapped};
use super::inlining::{Function, inlined};
use super::node::{Attribute, MOST_NODES, Node};
use super::tensor::Tensor;
use crate::first_bytes;
use bytes::Bytes;
use onnx_ir::{ModelProto, TensorProto, ValueInfoProto};
use protobuf::Message;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A graph as its file has it. Nodes are in the order of the file.
#[derive(Debug)]
pub struct Graph {
    pub name: String,
    pub opset: i64,
    /// Those that are not initializers.
    pub inputs: Vec<Input>,
    /// The names of the results.
    pub outputs: Vec<String>,
    pub nodes: Vec<Node>,
    pub initializers: HashMap<String, Tensor>,
    /// The files beside it that have tensors of it.
    pub files: Vec<PathBuf>,
}

/// A value that the graph is given.
#[derive(Debug)]
pub struct Input {
    pub name: String,
    pub element: Element,
    pub dims: Vec<Dim>,
}

/// The extent of an axis of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    /// It is not said; the name, if it has one, stands for the same extent wherever it is.
    Named(Option<String>),
}

/// Whether the file at `path` is an ONNX model by its name, or by its first bytes: the version of the format, which is the first
/// field of every model that is written in the order of its fields.
pub fn is_onnx(path: &Path) -> bool {
    const VERSION_FIELD: u8 = 0x08;
    const NEWEST_VERSION: u8 = 32;
    if !path.is_file() {
        return false;
    }
    let head = || first_bytes::open(path).and_then(|mut file| first_bytes::head(&mut file));
    let begins = |head: &[u8]| matches!(head, [VERSION_FIELD, 1..=NEWEST_VERSION, ..]);
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
        || head().is_ok_and(|head| begins(&head))
}

impl Graph {
    /// Reads the file at `path`. Its tensors are not read, but stay in the mapped file.
    ///
    /// # Errors
    /// If it cannot be read, is no ONNX model, is of another version than [`OPSETS`], or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, OnnxError> {
        let bytes = mapped(path).map_err(|error| OnnxError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(path, &bytes)
    }

    /// The graph of the model `bytes`, which were read from `path`.
    pub fn parse(path: &Path, bytes: &Bytes) -> Result<Self, OnnxError> {
        let damaged = |why: String| OnnxError::Damaged { path: path.to_owned(), why };
        let model = ModelProto::parse_from_tokio_bytes(bytes).map_err(|error| damaged(error.to_string()))?;
        let invalid = |why: String| OnnxError::Invalid { path: path.to_owned(), why };
        let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = model.opset_import.iter().find(|opset| own(&opset.domain)).map(|opset| opset.version);
        let opset = opset.ok_or_else(|| damaged("it says no version of ONNX's operators".into()))?;
        if !OPSETS.contains(&opset) {
            return Err(OnnxError::Opset { path: path.to_owned(), opset });
        }
        let graph = &model.graph;
        if graph.node.len() > MOST_NODES {
            return Err(invalid(format!("it has {} nodes; up to {MOST_NODES} are read", graph.node.len())));
        }
        if !graph.sparse_initializer.is_empty() {
            return Err(invalid("it has sparse initializers; make them dense first".into()));
        }
        let mut beside = Beside::new(path);
        let mut tensor = |proto: &TensorProto| tensor(&mut beside, proto).map_err(invalid);
        let mut initializers = HashMap::new();
        for proto in &graph.initializer {
            if initializers.insert(proto.name.clone(), tensor(proto)?).is_some() {
                return Err(invalid(format!("there are two initializers called `{}`", proto.name)));
            }
        }
        let given = graph.input.iter().filter(|input| !initializers.contains_key(&input.name));
        let inputs = given.map(|input| self::input(input).map_err(invalid)).collect::<Result<_, _>>()?;
        let op = |domain: &str, name: &str| match own(domain) {
            true => name.to_owned(),
            false => format!("{domain}.{name}"),
        };
        // Those of functions are behind those of the graph.
        let in_functions = model.functions.iter().flat_map(|function| &function.node);
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in graph.node.iter().chain(in_functions) {
            let mut attributes = BTreeMap::new();
            for attribute in &node.attribute {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let value = match attribute.type_.value() {
                    _ if !attribute.ref_attr_name.is_empty() => {
                        Attribute::OfCall(attribute.ref_attr_name.clone())
                    }
                    1 => Attribute::Float(attribute.f),
                    2 => Attribute::Int(attribute.i),
                    3 => Attribute::Text(text(&attribute.s)),
                    4 => Attribute::Tensor(tensor(&attribute.t)?),
                    6 => Attribute::Floats(attribute.floats.clone()),
                    7 => Attribute::Ints(attribute.ints.clone()),
                    _ => Attribute::Other,
                };
                attributes.insert(attribute.name.clone(), value);
            }
            let scopes = node.metadata_props.iter().find(|entry| entry.key == SCOPES);
            nodes.push(Node {
                name: node.name.clone(),
                op: op(&node.domain, &node.op_type),
                inputs: node.input.clone(),
                outputs: node.output.clone(),
                attributes,
                scopes: scopes.map(|entry| entry.value.clone()),
            });
        }
        let mut in_functions = nodes.split_off(graph.node.len()).into_iter();
        let mut functions = HashMap::new();
        for function in &model.functions {
            let nodes = in_functions.by_ref().take(function.node.len()).collect();
            let (inputs, outputs) = (function.input.clone(), function.output.clone());
            let function_op = op(&function.domain, &function.name);
            if !function.attribute_proto.is_empty() {
                return Err(invalid(format!(
                    "its function `{function_op}` has attributes with defaults; inline it first, with onnx.inliner.inline_local_functions"
                )));
            }
            if functions.insert(function_op.clone(), Function { inputs, outputs, nodes }).is_some() {
                return Err(invalid(format!("it has two functions called `{function_op}`")));
            }
        }
        let nodes = inlined(nodes, &functions).map_err(invalid)?;
        let outputs = graph.output.iter().map(|output| output.name.clone()).collect();
        let (name, files) = (graph.name.clone(), beside.files());
        Ok(Self { name, opset, inputs, outputs, nodes, initializers, files })
    }
}

/// Where `torch.export` writes the modules of a node, outermost first, with the node itself last.
pub(super) const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// An input of the graph.
fn input(proto: &ValueInfoProto) -> Result<Input, String> {
    let name = &proto.name;
    if !proto.type_.has_tensor_type() {
        return Err(format!("its input `{name}` is no tensor"));
    }
    let kind = proto.type_.tensor_type();
    let element = Element::of(kind.elem_type).map_err(|why| format!("its input `{name}` {why}"))?;
    if kind.shape.is_none() {
        return Err(format!("its input `{name}` does not say how many axes it has"));
    }
    let dim = |has_value: bool, value: i64, name: &str| match usize::try_from(value) {
        Ok(extent @ 1..) if has_value => Ok(Dim::Fixed(extent)),
        _ if has_value => Err(format!("an axis of its input `{}` has the extent {value}", proto.name)),
        _ => Ok(Dim::Named((!name.is_empty()).then(|| name.to_owned()))),
    };
    let dims =
        kind.shape.dim.iter().map(|axis| dim(axis.has_dim_value(), axis.dim_value(), axis.dim_param()));
    Ok(Input { name: name.clone(), element, dims: dims.collect::<Result<_, _>>()? })
}

/// A tensor with its numbers, which are in the file or in one `beside` it.
fn tensor(beside: &mut Beside, proto: &TensorProto) -> Result<Tensor, String> {
    const EXTERNAL: i32 = 1;
    let name = match proto.name.as_str() {
        "" => "a tensor of a node".to_owned(),
        name => format!("its tensor `{name}`"),
    };
    let element = Element::of(proto.data_type).map_err(|why| format!("{name} {why}"))?;
    let extent =
        |&extent: &i64| usize::try_from(extent).map_err(|_| format!("{name} has the extent {extent}"));
    let shape = proto.dims.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let elements = shape.iter().try_fold(1usize, |elements, &extent| elements.checked_mul(extent));
    let size = elements.and_then(|elements| elements.checked_mul(element.bytes()));
    let size = size.ok_or_else(|| format!("{name} is too large to address"))?;
    let bytes = if proto.data_location.value() == EXTERNAL {
        let entries = proto.external_data.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        beside.bytes(entries, size).map_err(|why| format!("{name} {why}"))?
    } else if !proto.raw_data.is_empty() || size == 0 {
        proto.raw_data.clone()
    } else {
        listed(element, proto)
    };
    if bytes.len() != size {
        let found = bytes.len();
        return Err(format!("{name}, {element}{shape:?}, has {found} bytes instead of {size}"));
    }
    Ok(Tensor { element, shape, bytes })
}

/// The numbers of `proto`, which has them one by one, in little-endian bytes.
fn listed(element: Element, proto: &TensorProto) -> Bytes {
    macro_rules! each {
        ($numbers:expr, $type:ty) => {
            $numbers.iter().flat_map(|&number| (number as $type).to_le_bytes()).collect::<Vec<u8>>()
        };
    }
    let ints = &proto.int32_data;
    let bytes = match element {
        Element::F32 => each!(proto.float_data, f32),
        Element::F64 => each!(proto.double_data, f64),
        Element::I64 => each!(proto.int64_data, i64),
        Element::U32 => each!(proto.uint64_data, u32),
        Element::U64 => each!(proto.uint64_data, u64),
        Element::I32 => each!(ints, i32),
        // The bits of 16-bit floats are listed as integers.
        Element::F16 | Element::BF16 | Element::U16 | Element::I16 => each!(ints, u16),
        Element::U8 | Element::I8 | Element::Bool => each!(ints, u8),
    };
    bytes.into()
}
