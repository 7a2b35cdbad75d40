//! Messages of ONNX's protobuf.
//!
//! `onnx-ir` does not say what most of the messages are called; so they are made where their type follows from where they go.

use super::message::{Attribute, Bytes, Function, GraphParts, Node, Tensor, Typed};
use super::{DOMAIN, OPSET};
use crate::onnx::file::SCOPES;
use onnx_ir::{ModelProto, TensorProto, ValueInfoProto};
use protobuf::{EnumOrUnknown, MessageField};
use reflux_ir::ModulePath;

/// The version of the format that came with version 21 of the operators.
const IR_VERSION: i64 = 10;

/// The version of the model's own functions.
const FUNCTIONS: i64 = 1;

/// Where tools that show a graph by modules look for those of a node.
const NAMESPACE: &str = "namespace";

/// A message of the kind that the list holds.
fn new_of<T: Default>(_: &[T]) -> T {
    T::default()
}

/// The whole model. `beside` is what the file is called that has the tensors which are not in the model itself.
pub fn model(graph: &GraphParts, stage: &str, beside: &str) -> ModelProto {
    let mut model = ModelProto::new();
    model.ir_version = IR_VERSION;
    model.producer_name = "reflux".to_owned();
    model.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    let mut stage_entry = new_of(&model.metadata_props);
    stage_entry.key = "reflux.stage".to_owned();
    stage_entry.value = stage.to_owned();
    model.metadata_props.push(stage_entry);
    let opset = |domain: &str, version: i64| {
        let mut opset = new_of(&model.opset_import);
        opset.domain = domain.to_owned();
        opset.version = version;
        opset
    };
    let mut opsets = vec![opset("", OPSET)];
    if !graph.functions.is_empty() {
        opsets.push(opset(DOMAIN, FUNCTIONS));
    }
    let node = |from: &Node| {
        let mut node = new_of(&model.graph.node);
        node.op_type = from.op.clone().into_owned();
        node.domain = if from.is_call { DOMAIN.to_owned() } else { String::new() };
        node.input.clone_from(&from.inputs);
        node.output.clone_from(&from.outputs);
        for (name, value) in &from.attributes {
            let mut attribute = new_of(&node.attribute);
            attribute.name = (*name).to_owned();
            let kind = match value {
                Attribute::Float(number) => {
                    attribute.f = *number;
                    1
                }
                Attribute::Int(number) => {
                    attribute.i = *number;
                    2
                }
                Attribute::Text(text) => {
                    attribute.s = text.as_bytes().into();
                    3
                }
                Attribute::Tensor(tensor) => {
                    attribute.t = MessageField::some(within(tensor));
                    4
                }
                Attribute::Ints(numbers) => {
                    attribute.ints.clone_from(numbers);
                    7
                }
            };
            attribute.type_ = EnumOrUnknown::from_i32(kind);
            node.attribute.push(attribute);
        }
        if let Some((name, module)) = &from.place {
            node.name.clone_from(name);
            for (key, value) in [(NAMESPACE, module.replace('.', "/")), (SCOPES, scopes(module, name))] {
                let mut entry = new_of(&node.metadata_props);
                entry.key = key.to_owned();
                entry.value = value;
                node.metadata_props.push(entry);
            }
        }
        node
    };
    let functions = graph.functions.iter().map(|from: &Function| {
        let mut function = new_of(&model.functions);
        function.name.clone_from(&from.name);
        function.domain = DOMAIN.to_owned();
        function.doc_string.clone_from(&from.meaning);
        function.input.clone_from(&from.inputs);
        function.output.clone_from(&from.outputs);
        function.node = from.nodes.iter().map(node).collect();
        function.opset_import = vec![opset("", OPSET)];
        function
    });
    let functions = functions.collect();
    let nodes = graph.nodes.iter().map(node).collect();
    model.functions = functions;
    model.opset_import = opsets;
    let to = model.graph.mut_or_insert_default();
    to.name.clone_from(&graph.name);
    to.node = nodes;
    to.input = graph.inputs.iter().map(typed).collect();
    to.output = graph.outputs.iter().map(typed).collect();
    to.value_info = graph.values.iter().map(typed).collect();
    to.initializer = graph.initializers.iter().map(|(of, bytes)| initializer(of, bytes, beside)).collect();
    model
}

/// The modules of a node as `torch.export` writes them: the whole network, modules from the outermost on, the node itself.
fn scopes(module: &ModulePath, name: &str) -> String {
    let mut path = ModulePath::root();
    let mut scopes = vec![String::new()];
    for segment in module.segments() {
        path = path.join(segment);
        scopes.push(path.to_string());
    }
    scopes.push(name.to_owned());
    let quoted: Vec<String> = scopes.iter().map(|scope| format!("'{scope}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn typed(from: &Typed) -> ValueInfoProto {
    let mut value = ValueInfoProto::new();
    value.name.clone_from(&from.name);
    let kind = value.type_.mut_or_insert_default().mut_tensor_type();
    kind.elem_type = from.element.number();
    let shape = kind.shape.mut_or_insert_default();
    for extent in extents(&from.shape) {
        let mut axis = new_of(&shape.dim);
        axis.set_dim_value(extent);
        shape.dim.push(axis);
    }
    value
}

fn within(from: &Tensor) -> TensorProto {
    let mut tensor = TensorProto::new();
    tensor.data_type = from.element.number();
    tensor.dims = extents(&from.shape).collect();
    tensor.raw_data = from.bytes.clone().into();
    tensor
}

fn initializer(of: &Typed, bytes: &Bytes, beside: &str) -> TensorProto {
    const EXTERNAL: i32 = 1;
    let mut tensor = TensorProto::new();
    tensor.name.clone_from(&of.name);
    tensor.data_type = of.element.number();
    tensor.dims = extents(&of.shape).collect();
    match bytes {
        Bytes::Here(bytes) => tensor.raw_data = bytes.clone().into(),
        Bytes::Beside(offset) => {
            tensor.data_location = EnumOrUnknown::from_i32(EXTERNAL);
            let (offset, length) = (offset.to_string(), of.bytes().to_string());
            for (key, value) in [("location", beside), ("offset", &offset), ("length", &length)] {
                let mut entry = new_of(&tensor.external_data);
                entry.key = key.to_owned();
                entry.value = value.to_owned();
                tensor.external_data.push(entry);
            }
        }
    }
    tensor
}

/// Extents as files have them. Values that a machine can address have no larger ones.
fn extents(shape: &[usize]) -> impl Iterator<Item = i64> {
    shape.iter().map(|&extent| extent as i64)
}
