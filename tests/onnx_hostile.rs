//! ONNX files that are damaged, contradict themselves or ask for too much: one clear error, and no panic.

use crate::common::fixtures::repo;
use reflux::ir::text::parse;
use reflux::models::onnx::{self, Dims};
use safetensors::SafeTensors;
use std::path::Path;
use std::time::{Duration, Instant};

/// Protobuf, as far as these files need it.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u64, mut number: u64) -> Self {
        let write = |bytes: &mut Vec<u8>, number: &mut u64| {
            while *number > 0x7f {
                bytes.push(*number as u8 | 0x80);
                *number >>= 7;
            }
            bytes.push(*number as u8);
        };
        write(&mut self.0, &mut (field << 3));
        write(&mut self.0, &mut number);
        self
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut message = self.varint(field, 0);
        // The kind of the field is in the lowest bits of its tag, and its length follows.
        message.0.pop();
        *message.0.last_mut().unwrap() |= 2;
        let length = Self::default().varint(0, bytes.len() as u64);
        message.0.extend(&length.0[1..]);
        message.0.extend(bytes);
        message
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node.text(2, output).text(3, &format!("/layers.0/{output}")).text(4, op)
}

/// A tensor of f32 of these extents, with `bytes`.
fn tensor(name: &str, dims: &[u64], bytes: &[u8]) -> Message {
    let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.varint(1, dim));
    tensor.varint(2, 1).text(8, name).bytes(9, bytes)
}

/// A value of f32 of these extents.
fn value(name: &str, dims: &[u64]) -> Message {
    let shape = dims
        .iter()
        .fold(Message::default(), |shape, &dim| shape.message(1, &Message::default().varint(1, dim)));
    let kind = Message::default().varint(1, 1).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &kind))
}

/// The graph of these nodes and tensors from `x`, `f32[2,3]`, to `y`.
fn graph(nodes: &[Message], tensors: &[Message]) -> Message {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node));
    let graph = tensors.iter().fold(graph.text(2, "g"), |graph, tensor| graph.message(5, tensor));
    graph.message(11, &value("x", &[2, 3])).message(12, &value("y", &[2, 3]))
}

/// The model of `graph` in version `opset` of the operators.
fn model(graph: &Message, opset: u64) -> Vec<u8> {
    let version = Message::default().varint(2, opset);
    Message::default().varint(1, 10).message(7, graph).message(8, &version).0
}

fn refusal(bytes: Vec<u8>) -> String {
    match onnx::parse(Path::new("case.onnx"), bytes, &Dims::default()) {
        Ok((program, _)) => panic!("not refused:\n{program}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_wrong_is_said_in_one_error() {
    let relu = || node("Relu", &["x"], "y");
    let of = |nodes: &[Message], tensors: &[Message]| model(&graph(nodes, tensors), 18);
    let whole = of(&[relu()], &[]);
    let external = |location: &str| {
        let entry = Message::default().text(1, "location").text(2, location);
        tensor("w", &[1], &[]).message(13, &entry).varint(14, 1)
    };
    let cases = [
        ("empty", Vec::new()),
        ("text", b"hello, this is no model at all".to_vec()),
        ("cut off", whole[..whole.len() - 9].to_vec()),
        ("without operators' version", Message::default().varint(1, 10).message(7, &graph(&[relu()], &[])).0),
        ("too old", model(&graph(&[relu()], &[]), 9)),
        ("too new", model(&graph(&[relu()], &[]), 99)),
        ("nothing makes the result", of(&[node("Relu", &["x"], "z")], &[])),
        (
            "a cycle",
            of(&[node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["b"], "y")], &[]),
        ),
        ("two values of a name", of(&[relu(), relu()], &[])),
        ("two tensors of a name", of(&[relu()], &[tensor("w", &[1], &[0; 4]), tensor("w", &[1], &[0; 4])])),
        ("too few bytes", of(&[relu()], &[tensor("w", &[2, 3], &[0; 4])])),
        ("absurd extents", of(&[relu()], &[tensor("w", &[1 << 62, 1 << 62], &[0; 4])])),
        ("a negative extent", of(&[relu()], &[tensor("w", &[u64::MAX], &[0; 4])])),
        ("strings", of(&[relu()], &[Message::default().varint(1, 1).varint(2, 8).text(8, "w")])),
        ("a file outside", of(&[relu()], &[external("../secret")])),
        ("a file at the root", of(&[relu()], &[external("/etc/passwd")])),
        ("a file that is not there", of(&[relu()], &[external("nowhere.bin")])),
        (
            "operators that are not known",
            of(
                &[
                    node("Relu", &["x"], "a"),
                    node("NonZero", &["a"], "b"),
                    node("NonZero", &["x"], "c"),
                    node("StringNormalizer", &["x"], "d"),
                    node("Add", &["b", "c"], "y"),
                ],
                &[],
            ),
        ),
        (
            "a result that does not depend on inputs",
            of(&[node("Relu", &["w"], "y")], &[tensor("w", &[1], &[0; 4])]),
        ),
        ("shapes that do not fit", of(&[node("Add", &["x", "w"], "y")], &[tensor("w", &[4], &[0; 16])])),
        ("an input that is left out", of(&[node("Add", &["x"], "y")], &[])),
        ("no inputs at all", of(&[node("Add", &[], "y")], &[])),
    ];
    let said: Vec<String> =
        cases.into_iter().map(|(what, bytes)| format!("{what}:\n  {}", refusal(bytes))).collect();
    snapshot!("onnx__refused", said.join("\n"));
}

/// As many nodes as no network has are lowered in a time that grows with their number.
#[test]
fn many_nodes_take_their_time_and_no_more() {
    const NODES: usize = 100_000;
    let name = |index: usize| if index == NODES { "y".to_owned() } else { format!("v{index}") };
    let first = node("Relu", &["x"], &name(1));
    let rest = (1..NODES).map(|index| node("Relu", &[&name(index)], &name(index + 1)));
    let nodes: Vec<Message> = std::iter::once(first).chain(rest).collect();
    let start = Instant::now();
    let (program, _) =
        onnx::parse(Path::new("case.onnx"), model(&graph(&nodes, &[]), 18), &Dims::default()).unwrap();
    assert_eq!(program.op_count(), NODES);
    // Not a measurement, but far from what squares of it would take.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

/// Whatever bytes change, there is an error or a program that is as good as any.
#[test]
fn damaged_files_end_in_an_error_or_a_program() {
    let bytes = std::fs::read(repo("tests/fixtures/onnx/ops.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let models: Vec<Vec<u8>> = file
        .iter()
        .filter(|(name, _)| name.ends_with("/model"))
        .map(|(_, view)| view.data().to_vec())
        .collect();
    let mut random = fastrand::Rng::with_seed(19);
    for _ in 0..20_000 {
        let mut model = random.choice(&models).unwrap().clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..model.len());
            match random.usize(..4) {
                0 => model[at] = random.u8(..),
                1 => model.truncate(at.max(1)),
                2 => model[at] ^= 1 << random.u32(..8),
                _ => {
                    let other = random.choice(&models).unwrap();
                    let from = random.usize(..other.len());
                    let count = random.usize(..16).min(other.len() - from);
                    model.splice(at..at, other[from..from + count].iter().copied());
                }
            }
        }
        if let Ok((program, _)) = onnx::parse(Path::new("case.onnx"), model, &Dims::default()) {
            let text = program.to_string();
            assert_eq!(parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}")), program);
        }
    }
}
