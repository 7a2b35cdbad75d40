//! Functions of ONNX files are read as what they stand for, and those without an end are refused.

use onnx_ir::ModelProto;
use protobuf::{EnumOrUnknown, Message};
use reflux_models::onnx::{self, Dims};
use std::path::Path;

/// A node: `Add(x, y) -> z`, in the domain `own` if its name begins with `own.`, with the attributes that follow: `axis=1`, or
/// `axis=@along` for one that is the call's.
type Line = &'static str;

/// A function: its head, `f(x, y) -> z`, and its nodes.
type Function = (Line, Vec<Line>);

fn default_of<T: Default>(_: &[T]) -> T {
    T::default()
}

fn listed(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// A model of `x: f32[2, 3]` with the result `y`.
fn model(nodes: &[Line], functions: &[Function]) -> Vec<u8> {
    let mut model = ModelProto::new();
    model.ir_version = 10;
    for domain in ["", "own"] {
        let mut opset = default_of(&model.opset_import);
        (opset.domain, opset.version) = (domain.to_owned(), if domain.is_empty() { 21 } else { 1 });
        model.opset_import.push(opset);
    }
    let node = |line: &Line| {
        let (call, rest) = line.split_once(") -> ").unwrap();
        let (op, inputs) = call.split_once('(').unwrap();
        let (outputs, attributes) = rest.split_once('{').unwrap_or((rest, ""));
        let mut node = default_of(&model.graph.node);
        let (domain, op) = op.split_once('.').unwrap_or(("", op));
        (node.domain, node.op_type) = (domain.to_owned(), op.to_owned());
        node.input = inputs.split(',').map(|name| name.trim().to_owned()).collect();
        node.output = listed(outputs);
        for text in listed(attributes.trim_end_matches('}')) {
            let (name, value) = text.split_once('=').unwrap();
            let mut attribute = default_of(&node.attribute);
            attribute.name = name.to_owned();
            attribute.type_ = EnumOrUnknown::from_i32(2);
            match value.strip_prefix('@') {
                Some(of_call) => attribute.ref_attr_name = of_call.to_owned(),
                None => attribute.i = value.parse().unwrap(),
            }
            node.attribute.push(attribute);
        }
        node
    };
    let nodes = nodes.iter().map(node).collect();
    let functions = functions.iter().map(|(head, nodes)| {
        let (call, outputs) = head.split_once(") -> ").unwrap();
        let (name, inputs) = call.split_once('(').unwrap();
        let mut function = default_of(&model.functions);
        (function.domain, function.name) = ("own".to_owned(), name.to_owned());
        (function.input, function.output) = (listed(inputs), listed(outputs));
        function.node = nodes.iter().map(node).collect();
        function
    });
    model.functions = functions.collect();
    let graph = model.graph.mut_or_insert_default();
    graph.node = nodes;
    let mut x = default_of(&graph.input);
    x.name = "x".to_owned();
    let kind = x.type_.mut_or_insert_default().mut_tensor_type();
    kind.elem_type = 1;
    let shape = kind.shape.mut_or_insert_default();
    for extent in [2, 3] {
        let mut dim = default_of(&shape.dim);
        dim.set_dim_value(extent);
        shape.dim.push(dim);
    }
    let mut y = default_of(&graph.output);
    y.name = "y".to_owned();
    graph.input = vec![x];
    graph.output = vec![y];
    model.write_to_bytes().unwrap()
}

/// The ops of the program, line by line.
fn lines(nodes: &[Line], functions: &[Function]) -> Vec<String> {
    match onnx::parse(Path::new("case.onnx"), model(nodes, functions), &Dims::default()) {
        Ok((program, _)) => {
            let text = program.to_string();
            let lines = text.lines().map(str::trim).filter(|line| line.contains(" = "));
            lines.map(str::to_owned).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn calls_become_the_nodes_of_their_functions() {
    let twice: Function = ("twice(a) -> c", vec!["Add(a, a) -> b", "Exp(b) -> c"]);
    let both: Function =
        ("both(a, b) -> c", vec!["own.twice(b) -> t", "Mul(a, t) -> m", "own.twice(m) -> c"]);
    // Names inside of functions are those of the graph and of other functions too.
    assert_eq!(
        lines(&["Relu(x) -> b", "own.both(x, b) -> t", "Exp(t) -> y"], &[twice, both]),
        [
            "%max = max %x, 0.0 : f32[2,3]",
            "%add = add %max, %max : f32[2,3]",
            "%exp = exp %add : f32[2,3]",
            "%mul = mul %x, %exp : f32[2,3]",
            "%add_2 = add %mul, %mul : f32[2,3]",
            "%exp_2 = exp %add_2 : f32[2,3]",
            "%exp_3 = exp %exp_2 : f32[2,3]",
        ]
    );
}

#[test]
fn attributes_and_what_is_left_out_are_the_calls() {
    let norm: Function = ("norm(a) -> c", vec!["Softmax(a) -> c {axis=@along}"]);
    let swapped: Function = ("two(a) -> a, b", vec!["Exp(a) -> b"]);
    let unread: Function = ("unread(a) -> b, c", vec!["Exp(a) -> b", "Tanh(b) -> c"]);
    assert_eq!(
        lines(&["own.norm(x) -> y {along=1}"], std::slice::from_ref(&norm)),
        ["%softmax = softmax %x : f32[2,3]"]
    );
    // Without it, it has its default: the last axis.
    assert_eq!(lines(&["own.norm(x) -> y"], &[norm]), ["%softmax = softmax %x : f32[2,3]"]);
    // A result may be an input, and need not be read.
    assert_eq!(
        lines(&["own.two(x) -> p, q", "Add(p, q) -> y"], &[swapped]),
        ["%exp = exp %x : f32[2,3]", "%add = add %x, %exp : f32[2,3]"]
    );
    assert_eq!(lines(&["own.unread(x) -> y"], &[unread])[0], "%exp = exp %x : f32[2,3]");
}

#[test]
fn functions_without_an_end_are_refused() {
    let refused = |nodes: &[Line], functions: &[Function], expected: &str| {
        let said = lines(nodes, functions).join("\n");
        assert_eq!(said, format!("case.onnx cannot be used: {expected}"));
    };
    let itself: Function = ("f(a) -> b", vec!["own.g(a) -> b"]);
    let other: Function = ("g(a) -> b", vec!["own.f(a) -> b"]);
    refused(
        &["own.f(x) -> y"],
        &[itself, other],
        "its function `own.f` calls itself, or functions call one another more than 32 deep",
    );
    let exp: Function = ("f(a) -> b", vec!["Exp(a) -> b"]);
    refused(&["own.f(x) -> y"], &[exp.clone(), exp], "it has two functions called `own.f`");
    // Each calls the next one sixteen times: 2²⁴ nodes of a few lines.
    let leak = |text: &String| -> Line { Box::leak(text.clone().into_boxed_str()) };
    let heads: Vec<String> = (0..6).map(|index| format!("f{index}(a) -> v15")).collect();
    let calls = |function: usize| -> Vec<Line> {
        let from = |index: usize| if index == 0 { "a".to_owned() } else { format!("v{}", index - 1) };
        let op = if function == 5 { "Exp".to_owned() } else { format!("own.f{}", function + 1) };
        (0..16).map(|index| leak(&format!("{op}({}) -> v{index}", from(index)))).collect()
    };
    let many: Vec<Function> =
        heads.iter().enumerate().map(|(index, head)| (leak(head), calls(index))).collect();
    refused(&["own.f0(x) -> y"], &many, "with its functions it has more than 1048576 nodes");
    // A name of a megabyte, in nodes that are there a thousand times.
    let long = "n".repeat(1 << 20);
    let named: Function =
        ("f(a) -> c", vec![leak(&format!("Exp(a) -> {long}")), leak(&format!("Exp({long}) -> c"))]);
    let many: Vec<String> = (0..1000).map(|index| format!("own.f(x) -> y{index}")).collect();
    let many: Vec<Line> = many.iter().map(leak).collect();
    refused(&many, &[named], "the names in its functions are too long, as often as these are called");
}
