//! Exports as ONNX: what is in the files, that our own reader finds in them what was exported, and what is refused.
//! `tests/tools/onnx_export.py` compares with onnxruntime what the models compute.

use crate::common::emoji;
use onnx_ir::{ModelProto, TensorProto};
use protobuf::Message;
use reflux_ir::op::Op;
use reflux_ir::text::{parse, parse_type};
use reflux_ir::{
    DType, Fact, Graph, HostTensor, Name, Program, QuantizedTensor, Rate, Stage, WeightData, WeightError,
    WeightSource,
};
use reflux_models::onnx::export::{ExportError, ExportOptions, Exported, Part, export};
use reflux_models::onnx::{self, Dims};
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{ModelConfig, Sizes, flux1};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A program of one variant `main` with the result of the last line.
fn program(inputs: &[&str], lines: &str) -> Program {
    let declared: String = inputs.iter().map(|input| format!("input {input} latent\n")).collect();
    let names: Vec<&str> = inputs.iter().filter_map(|input| input.split_whitespace().next()).collect();
    let result = lines.trim().lines().last().and_then(|line| line.split_whitespace().next()).unwrap();
    let text = format!(
        "program p {{ {declared} variant main ({}) -> (%out) {{\n{lines}\nreturn {result} }} schedule main }}",
        names.join(", ")
    );
    parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// What an export has written.
struct Files {
    exported: Exported,
    model: ModelProto,
    data: Vec<u8>,
    /// Deleted when it is dropped.
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn files(program: &Program, options: &ExportOptions, weights: Option<&dyn WeightSource>) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let exported = export(program, options, weights, &path).unwrap_or_else(|error| panic!("{error}"));
    let model = ModelProto::parse_from_bytes(&fs::read(&path).unwrap()).unwrap();
    let data = fs::read(folder.path().join("model.onnx.data")).unwrap_or_default();
    Files { exported, model, data, _folder: folder, path }
}

fn refused(program: &Program, options: &ExportOptions, weights: Option<&dyn WeightSource>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = export(program, options, weights, &folder.path().join("model.onnx")).unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is left of `{error}`");
    error.to_string()
}

fn step(variant: &str) -> ExportOptions {
    ExportOptions { part: Part::Step(Some(Name::from(variant))), ..ExportOptions::default() }
}

impl Files {
    /// The nodes of the graph: `MatMul(x, w) -> y`, with the domain of functions.
    fn nodes(&self) -> Vec<String> {
        let written = |domain: &str, op: &str, inputs: &[String], outputs: &[String]| {
            let dot = if domain.is_empty() { "" } else { "." };
            format!("{domain}{dot}{op}({}) -> {}", inputs.join(", "), outputs.join(", "))
        };
        let nodes = self.model.graph.node.iter();
        nodes.map(|node| written(&node.domain, &node.op_type, &node.input, &node.output)).collect()
    }

    /// The functions: name, inputs, and the ops of its nodes.
    fn functions(&self) -> Vec<String> {
        let functions = self.model.functions.iter();
        functions
            .map(|function| {
                let ops: Vec<&str> = function.node.iter().map(|node| node.op_type.as_str()).collect();
                format!("{}({}) {}", function.name, function.input.join(", "), ops.join(" "))
            })
            .collect()
    }

    fn initializers(&self) -> BTreeMap<&str, &TensorProto> {
        self.model.graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect()
    }

    /// The element type, the extents and the bytes of an initializer, wherever they are.
    fn tensor(&self, name: &str) -> (i32, Vec<i64>, Vec<u8>) {
        let initializers = self.initializers();
        let tensor = initializers.get(name).unwrap_or_else(|| panic!("no {name} in {initializers:?}"));
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key == key)?;
            entry.value.parse::<usize>().ok()
        };
        let bytes = match tensor.data_location.value() {
            0 => tensor.raw_data.to_vec(),
            _ => self.data[entry("offset").unwrap()..][..entry("length").unwrap()].to_vec(),
        };
        (tensor.data_type, tensor.dims.clone(), bytes)
    }

    fn floats(&self, name: &str) -> (Vec<i64>, Vec<f32>) {
        let (kind, dims, bytes) = self.tensor(name);
        assert_eq!(kind, 1, "{name} is not f32");
        (dims, DType::F32.decode(&bytes))
    }

    /// The names and types of inputs or results: `x: 1[2, 3]`.
    fn types(values: &[onnx_ir::ValueInfoProto]) -> Vec<String> {
        let written = |value: &onnx_ir::ValueInfoProto| {
            let kind = value.type_.tensor_type();
            let dims: Vec<i64> = kind.shape.dim.iter().map(|dim| dim.dim_value()).collect();
            format!("{}: {}{dims:?}", value.name, kind.elem_type)
        };
        values.iter().map(written).collect()
    }

    fn inputs(&self) -> Vec<String> {
        Self::types(&self.model.graph.input)
    }

    fn outputs(&self) -> Vec<String> {
        Self::types(&self.model.graph.output)
    }

    fn read(&self) -> (Program, onnx::OnnxWeights) {
        onnx::open(&self.path, &Dims::default()).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Weights whose numbers count up; codes too.
struct Counting;

impl WeightSource for Counting {
    fn weight(&self, _: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let elements = fact.shape.elements();
        let Some(scales) = fact.scales else {
            let numbers: Vec<f32> = (0..elements).map(|i| i as f32).collect();
            return Ok(HostTensor::from_f32(fact.shape.to_vec(), &numbers).cast(fact.dtype).into());
        };
        let count = scales.count(&fact.shape);
        let numbers = |first: f32| (0..count).map(|i| first + i as f32).collect::<Vec<_>>();
        let zeros = if fact.dtype.has_zero_points() { numbers(-4.0) } else { Vec::new() };
        let codes = (0..elements).map(|i| (i % 16) as u8).collect();
        Ok(QuantizedTensor { fact: fact.clone(), codes, scales: numbers(1.0), zeros }.into())
    }
}

#[test]
fn an_op_of_onnx_is_a_node_and_a_formula_a_function() {
    let program = program(
        &["%x : f32[2,4]"],
        "%a = linear %x, @m.weight f32[3,4] : f32[2,3] in m
         %b = linear %x, @n.weight f32[3,4], @n.bias f32[3] : f32[2,3] in n
         %c = linear %a, @o.weight f32[3,3], @n.bias f32[3] : f32[2,3] in o.0
         %d = add %b, 0.5 : f32[2,3]
         %e = add %c, 0.5 : f32[2,3]
         %y = mul %d, %e : f32[2,3]",
    );
    let files = files(&program, &ExportOptions::default(), Some(&Counting));
    assert_eq!(
        files.nodes(),
        [
            "MatMul(x, m.weight) -> a",
            "reflux.linear(x, n.weight, n.bias) -> b",
            "reflux.linear(a, o.weight, n.bias) -> c",
            "Add(b, 0.5) -> d",
            "Add(c, 0.5) -> e",
            "Mul(d, e) -> out",
        ]
    );
    // One for both.
    assert_eq!(files.functions(), ["linear(x, weight, bias) MatMul Add"]);
    assert_eq!(files.floats("m.weight"), (vec![4, 3], (0..12).map(|i| (i % 3 * 4 + i / 3) as f32).collect()));
    assert_eq!(files.floats("0.5"), (vec![], vec![0.5]));
    assert_eq!((files.inputs(), files.outputs()), (vec!["x: 1[2, 4]".into()], vec!["out: 1[2, 3]".into()]));
    assert_eq!((files.exported.nodes, files.exported.functions, files.exported.calls), (6, 1, 2));
    let inline = ExportOptions { functions: false, ..ExportOptions::default() };
    let inline = self::files(&program, &inline, None);
    assert_eq!(inline.functions(), Vec::<String>::new());
    assert_eq!(
        inline.nodes()[1..3],
        ["MatMul(x, n.weight) -> b/matmul".to_owned(), "Add(b/matmul, n.bias) -> b".to_owned()]
    );
}

#[test]
fn without_weights_they_are_inputs_and_there_is_one_file() {
    let program = program(&["%x : bf16[2,4]"], "%y = linear %x, @w bf16[3,4], @b bf16[3] : bf16[2,3]");
    let files = files(&program, &ExportOptions::default(), None);
    assert_eq!(files.inputs(), ["x: 16[2, 4]", "w: 16[4, 3]", "b: 16[3]"]);
    assert_eq!((files.exported.files.len(), files.data.len()), (1, 0));
}

/// A larger tensor is in the other file, where it can be mapped.
#[test]
fn large_weights_are_beside_the_model() {
    let program = program(
        &["%x : f32[1,64]"],
        "%h = linear %x, @w f32[64,64] : f32[1,64]
         %y = linear %h, @v f32[32,64], @b f32[32] : f32[1,32]",
    );
    let files = files(&program, &ExportOptions::default(), Some(&Counting));
    let location = |name: &str, key: &str| {
        let entries = files.initializers()[name].external_data.iter();
        entries.clone().find(|entry| entry.key == key).map(|entry| entry.value.clone())
    };
    assert_eq!(location("w", "location").as_deref(), Some("model.onnx.data"));
    assert_eq!(
        (location("w", "offset").as_deref(), location("v", "offset").as_deref()),
        (Some("0"), Some("16384"))
    );
    assert_eq!((location("b", "offset"), files.data.len()), (None, 16384 + 64 * 32 * 4));
    assert_eq!(files.exported.weight_bytes, files.data.len() as u64);
    for (name, rows) in [("w", 64), ("v", 32)] {
        let expected: Vec<f32> = (0..64 * rows).map(|i| (i % rows * 64 + i / rows) as f32).collect();
        assert_eq!(files.floats(name), (vec![64, rows as i64], expected));
    }
}

/// What `merge-linear` and `pack` make of weights is there once, and not what it is made of.
#[test]
fn weights_that_are_put_together_are_one_tensor() {
    let text = "
program p {
  input %x : f32[2,3] latent
  prepare weights () -> (%both, %panels, %biases) {
    %both = concat @a f32[2,3], @b f32[4,3] {axis=0} : f32[6,3] in block
    %rows = reshape @c f32[6,6] {shape=[3, 2, 6]} : f32[3,2,6]
    %panels = transpose %rows {perm=[0, 2, 1]} : f32[3,6,2]
    %biases = concat @d f32[2], @e f32[4] {axis=0} : f32[6]
    return %both, %panels, %biases
  }
  variant main (%x, %both, %panels, %biases) -> (%y) {
    %h = linear %x, %both, %biases : f32[2,6]
    %y = linear %h, %panels : f32[2,6]
    return %y
  }
  schedule main
}";
    let files = files(&parse(text).unwrap(), &ExportOptions::default(), Some(&Counting));
    assert_eq!(files.nodes(), ["reflux.linear(x, both, biases) -> h", "MatMul(h, panels) -> y"]);
    assert_eq!(files.initializers().keys().collect::<Vec<_>>(), [&"biases", &"both", &"panels"]);
    let rows = [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]];
    let columns = (0..3).flat_map(|column| rows.iter().map(move |row| row[column] as f32)).collect();
    assert_eq!(files.floats("both"), (vec![3, 6], columns));
    assert_eq!(files.floats("biases"), (vec![6], vec![0.0, 1.0, 0.0, 1.0, 2.0, 3.0]));
    // Panels are another order of the same matrix.
    let whole = (0..36).map(|i| (i % 6 * 6 + i / 6) as f32).collect();
    assert_eq!(files.floats("panels"), (vec![6, 6], whole));
}

#[test]
fn codes_and_scales_are_tensors_of_their_own() {
    let program = program(
        &["%x : f32[1,2,4]"],
        "%q = quantize %x {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,2,4]
         %acc = matmul_i8 %q, @w i8.row.f32[3,4] : i32[1,2,3]
         %r = rescale %acc, %q, @w i8.row.f32[3,4], @b f32[3] {dtype=f32} : f32[1,2,3]
         %v = dequantize @u u4.group2.f32[5,3] {dtype=f32} : f32[5,3]
         %y = linear %r, %v : f32[1,2,5]",
    );
    let files = files(&program, &ExportOptions::default(), Some(&Counting));
    assert_eq!(
        files.nodes(),
        [
            "reflux.quantize(x) -> q, q.scale",
            "MatMulInteger(q, w) -> acc",
            "reflux.rescale(acc, q.scale, w.scale, b) -> r",
            "reflux.dequantize(u, u.scale, u.zero) -> v",
            "reflux.linear(r, v) -> out",
        ]
    );
    let codes: Vec<u8> = (0..12).map(|i| i % 3 * 4 + i / 3).collect();
    assert_eq!(files.tensor("w"), (3, vec![4, 3], codes));
    assert_eq!(files.floats("w.scale"), (vec![3], vec![1.0, 2.0, 3.0]));
    // Two codes to a byte, an odd number of them; a short last group in each row.
    assert_eq!(files.tensor("u"), (21, vec![5, 3], vec![0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0x0e]));
    assert_eq!(files.floats("u.scale"), (vec![5, 2], (1..11).map(|i| i as f32).collect()));
    assert_eq!(files.floats("u.zero"), (vec![5, 2], (0..10).map(|i| i as f32 - 4.0).collect()));
}

const SEVERAL: &str = "
program p {
  input %x : f32[2] latent
  input %t : f32[3] schedule
  input %step : i32[] latent
  carry %last : f32[2] latent
  prepare schedule (%t) -> (%table, %unread) {
    %table = exp %t : f32[3]
    %unread = silu %t : f32[3]
    return %table, %unread
  }
  variant full (%x, %table, %step) -> (%y, %last) {
    %now = select %table, %step : f32[]
    %y = mul %x, %now : f32[2]
    return %y, %y
  }
  variant reuse (%last) -> (%y) {
    return %last
  }
  schedule full reuse full
}";

#[test]
fn a_step_has_what_is_prepared_for_it_and_what_is_carried() {
    let program = parse(SEVERAL).unwrap();
    let full = files(&program, &step("full"), None);
    assert_eq!(full.inputs(), ["x: 1[2]", "t: 1[3]", "step: 6[]"]);
    assert_eq!(full.outputs(), ["y: 1[2]", "last.next: 1[2]"]);
    let expected =
        ["Exp(t) -> table", "Gather(table, step) -> now", "Mul(x, now) -> y", "Identity(y) -> last.next"];
    assert_eq!(full.nodes(), expected);
    let reuse = files(&program, &step("reuse"), None);
    assert_eq!(
        (reuse.inputs(), reuse.nodes()),
        (vec!["last: 1[2]".into()], vec!["Identity(last) -> y".into()])
    );
    // Alone, a graph reads what is handed to it.
    let alone = |stage: Stage| {
        let options = ExportOptions { part: Part::Stage(stage), ..ExportOptions::default() };
        let files = files(&program, &options, None);
        (files.inputs().join(", "), files.outputs().join(", "))
    };
    assert_eq!(alone(Stage::Prepare(Rate::Schedule)), ("t: 1[3]".into(), "table: 1[3], unread: 1[3]".into()));
    let full = alone(Stage::Variant(Name::from("full")));
    assert_eq!(full, ("x: 1[2], step: 6[], table: 1[3]".into(), "y: 1[2], last.next: 1[2]".into()));
}

/// Nothing is both given and made in an ONNX graph.
#[test]
fn a_result_that_is_called_like_an_input_is_what_that_is_next() {
    let text = "program p { input %x : f32[2] latent variant main (%x) -> (%x) { %y = silu %x : f32[2] return %y } schedule main }";
    let files = files(&parse(text).unwrap(), &ExportOptions::default(), None);
    assert_eq!(files.nodes(), ["reflux.silu(x) -> x.next"]);
}

/// What could be mistaken for each other: values, weights, inputs and numbers of one name; results that no node makes.
#[test]
fn names_are_told_apart() {
    let text = "
program tricky {
  input %x : f32[2] latent
  prepare weights () -> (%w, %one) {
    return @m.w f32[2], 1.0 f32
  }
  prepare prompt (%w) -> (%h) {
    %a = silu %w : f32[2]
    %h = exp %a : f32[2]
    return %h
  }
  variant main (%x, %w, %one, %h) -> (%y, %x.out, %two, %z, %a) {
    %a = add %x, @x f32[2] : f32[2] in b
    %h_2 = add %a, %one : f32[2] in a.b
    %b = add %h_2, @h f32[2] : f32[2]
    %y = add %b, %h : f32[2]
    return %y, %x, 2.0 f32, %w, @y f32[2]
  }
  schedule main
}";
    let files = files(&parse(text).unwrap(), &ExportOptions::default(), Some(&Counting));
    let made = files.model.graph.node.iter().flat_map(|node| &node.output);
    let given = files.model.graph.input.iter().map(|input| &input.name);
    let stored = files.model.graph.initializer.iter().map(|tensor| &tensor.name);
    let all: Vec<&String> = made.chain(given).chain(stored).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    let results = ["y: 1[2]", "x.out: 1[2]", "two: 1[]", "z: 1[2]", "a: 1[2]"];
    assert_eq!(
        (files.inputs(), files.outputs()),
        (vec!["x: 1[2]".into()], results.map(String::from).to_vec())
    );
    assert_eq!(
        files.nodes(),
        [
            "reflux.silu(m.w) -> a_2",
            "Exp(a_2) -> h",
            "Add(x, x_2) -> a_3",
            "Add(a_3, 1.0) -> h_2",
            "Add(h_2, h_3) -> b",
            "Add(b, h) -> y",
            "Identity(x) -> x.out",
            "Identity(2.0) -> two",
            "Identity(m.w) -> z",
            "Identity(y_2) -> a",
        ]
    );
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() {
    let blocks = program(
        &["%x : f32[2,32]"],
        "%v = dequantize @blk.w q8_0[3,32] {dtype=f32} : f32[3,32] in blk
         %y = linear %x, %v : f32[2,3]",
    );
    let default = ExportOptions::default();
    assert_eq!(
        refused(&blocks, &default, None),
        "`%v`, `dequantize` in blk, cannot be exported: ONNX has no blocks of GGML like q8_0; export from a checkpoint that is not a \
         GGUF file, or from one in bf16 or f16"
    );
    let several = parse(SEVERAL).unwrap();
    assert_eq!(
        refused(&several, &default, None),
        "the program has several variants, and a model is one of them; name one: full, reuse"
    );
    assert_eq!(
        refused(&several, &step("main"), None),
        "the program has no variant main; it has: prepare schedule, variant full, variant reuse"
    );
    let prompt = Part::Stage(Stage::Prepare(Rate::Prompt));
    let message = refused(&several, &ExportOptions { part: prompt, ..default.clone() }, None);
    assert!(message.starts_with("the program has no prepare prompt; "), "{message}");
}

/// Gives what it is told to, whatever is asked for.
struct Fixed(WeightData);

impl WeightSource for Fixed {
    fn weight(&self, _: &str, _: &Fact) -> Result<WeightData, WeightError> {
        Ok(self.0.clone())
    }
}

#[test]
fn weights_of_another_type_are_refused() {
    let dense =
        |shape: [usize; 2]| Fixed(HostTensor::from_f32(shape, &vec![0.0; shape[0] * shape[1]]).into());
    let f32s = program(&["%x : f32[2,4]"], "%y = linear %x, @w f32[3,4] : f32[2,3]");
    let default = ExportOptions::default();
    assert_eq!(
        refused(&f32s, &default, Some(&dense([4, 3]))),
        "weight `w` is f32[4,3] in its file, but the program reads f32[3,4]: they have to have the same shape"
    );
    let codes = program(
        &["%x : f32[2,4]"],
        "%a = matmul_w8 %x, @w i8.row.f32[3,4] : f32[2,3]
         %y = rescale %a, @w i8.row.f32[3,4] {dtype=f32} : f32[2,3]",
    );
    assert_eq!(
        refused(&codes, &default, Some(&dense([3, 4]))),
        "weight `w` is f32[3,4] in its file, but the program reads i8.row.f32[3,4]: quantize the weights first, as `reflux compile` does"
    );
    let other = Counting.weight("w", &parse_type("i8.tensor.f32[3,4]").unwrap()).unwrap();
    let message = refused(&codes, &default, Some(&Fixed(other)));
    assert!(message.ends_with("reads i8.row.f32[3,4]: its codes are of another type"), "{message}");
    let WeightData::Quantized(mut torn) =
        Counting.weight("w", &parse_type("i8.row.f32[3,4]").unwrap()).unwrap()
    else {
        panic!("it is quantized")
    };
    torn.scales.pop();
    let message = refused(&codes, &default, Some(&Fixed(torn.into())));
    assert!(message.ends_with("its codes and scales contradict its type"), "{message}");
}

/// Gives out after some weights.
struct Failing(AtomicUsize);

impl WeightSource for Failing {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        match self.0.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(1))).unwrap_or(0) {
            0 => Err(WeightError::Unreadable { name: name.to_owned(), why: "the disk is gone".into() }),
            _ => Counting.weight(name, fact),
        }
    }
}

#[test]
fn files_are_whole_or_as_they_were() {
    let program = program(
        &["%x : f32[1,64]"],
        "%h = linear %x, @w f32[64,64] : f32[1,64]\n%y = linear %h, @v f32[64,64] : f32[1,64]",
    );
    let default = ExportOptions::default();
    let folder = tempfile::tempdir().unwrap();
    let (path, data) = (folder.path().join("m.onnx"), folder.path().join("m.onnx.data"));
    fs::write(&path, "old model").unwrap();
    fs::write(&data, "old data").unwrap();
    let error = export(&program, &default, Some(&Failing(AtomicUsize::new(1))), &path).unwrap_err();
    assert_eq!(error.to_string(), "weight `v` could not be read: the disk is gone");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old model");
    assert_eq!(fs::read_to_string(&data).unwrap(), "old data");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    export(&program, &default, Some(&Counting), &path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(fs::read(&data).unwrap().len(), 2 * 64 * 64 * 4);
    let nowhere = folder.path().join("no/folder.onnx");
    let error = export(&program, &default, None, &nowhere).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}: there is no such folder", nowhere.display()));
    let error = export(&program, &default, None, folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("it is a folder"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let program = program(&["%x : f32[1,64]"], "%y = linear %x, @w f32[64,64] : f32[1,64]");
    let (default, full) = (ExportOptions::default(), Path::new("/dev/full"));
    let error = export(&program, &default, None, full).unwrap_err();
    assert_eq!(error.to_string(), "cannot write /dev/full: No space left on device (os error 28)");
    let error = export(&program, &default, Some(&Counting), full).unwrap_err();
    assert!(matches!(error, ExportError::NoFile { .. }), "{error}");
    // The disk of the weights is full.
    let folder = tempfile::tempdir().unwrap();
    let (path, data) = (folder.path().join("m.onnx"), folder.path().join("m.onnx.data"));
    std::os::unix::fs::symlink(full, &data).unwrap();
    let error = export(&program, &default, Some(&Counting), &path).unwrap_err();
    let expected = format!("cannot write {}: No space left on device (os error 28)", data.display());
    assert_eq!(error.to_string(), expected);
    assert!(!path.exists());
}

/// The bundled model's networks, lowered in `dtype`.
fn bundled(dtype: DType) -> Vec<(&'static str, Program)> {
    let config = ModelConfig::read(&emoji("")).unwrap();
    let sizes = Sizes { batch: 1, steps: 4, text_tokens: 32, height: 128, width: 128, reference: None };
    let nets = flux1::FAMILY.all_nets();
    nets.map(|net| (net.name, config.lower(net, &sizes, dtype).unwrap())).collect()
}

/// Linears by module, with the shapes of their weights.
fn linears(graph: &Graph) -> Vec<(String, Fact)> {
    let mut linears: Vec<_> = graph
        .ids()
        .filter(|&id| matches!(graph[id].op, Op::Linear(_)))
        .map(|id| (graph[id].path.to_string(), graph[graph.operands(id)[1]].fact.clone()))
        .collect();
    linears.sort();
    linears
}

fn modules(graph: &Graph) -> BTreeSet<String> {
    let ops = graph.ids().filter(|&id| graph.is_op(id));
    ops.map(|id| graph[id].path.to_string()).filter(|path| !path.is_empty()).collect()
}

#[test]
fn networks_are_read_back_as_they_were() {
    for (name, program) in bundled(DType::F32) {
        let graph = &program.variants[0];
        let weights = RandomWeights::new(&program, 3);
        let files = files(&program, &ExportOptions::default(), Some(&weights));
        let (read, read_weights) = files.read();
        let read_graph = &read.variants["run"];
        assert!(linears(graph).len() > 1 || name.starts_with("vae"), "{name}");
        assert_eq!(linears(read_graph), linears(graph), "{name}");
        let declared = |program: &Program| -> BTreeSet<String> {
            program.inputs.iter().map(|input| format!("{}: {}", input.name, input.fact)).collect()
        };
        assert_eq!(declared(&read), declared(&program), "{name}");
        let results = |graph: &Graph| -> Vec<String> {
            graph.outputs().iter().map(|out| format!("{}: {}", out.label, graph[out.value].fact)).collect()
        };
        assert_eq!(results(read_graph), results(graph), "{name}");
        // Modules of what is computed once, when it is exported, are gone.
        let missing: Vec<String> = modules(graph).difference(&modules(read_graph)).cloned().collect();
        let known = |path: &String| path == "pos_embed" || path.ends_with(".relative_attention_bias");
        assert!(missing.iter().all(known), "{name}: {missing:?}");
        let attentions = graph.ids().filter(|&id| matches!(graph[id].op, Op::Attention(_))).count();
        let softmaxes = read_graph.ids().filter(|&id| matches!(read_graph[id].op, Op::Softmax(_))).count();
        assert_eq!(softmaxes, attentions, "{name}");
        // The numbers come back: in their order, since a product's weight is transposed there and back.
        let mut compared = 0;
        let weights_of_program = program.weights().into_iter();
        for (tensor, fact) in
            weights_of_program.filter(|(tensor, _)| !tensor.contains("relative_attention_bias"))
        {
            let back = [format!("{tensor}.transposed"), tensor.to_owned()];
            let read = read.weights();
            let Some(back) = back.iter().find(|name| read.contains_key(name.as_str())) else {
                panic!("{name}: no {tensor} in {:?}", read.keys())
            };
            assert_eq!(read[back.as_str()], fact, "{name}: {tensor}");
            let (a, b) = (weights.weight(tensor, fact).unwrap(), read_weights.weight(back, fact).unwrap());
            assert_eq!(a, b, "{name}: {tensor}");
            compared += 1;
        }
        assert!(compared > 20, "{name}");
    }
}

#[test]
fn types_are_kept() {
    for (dtype, number) in [(DType::BF16, 16), (DType::F16, 10)] {
        for (name, program) in bundled(dtype) {
            let files = files(&program, &ExportOptions::default(), None);
            let weights = files.model.graph.input.iter().skip(program.inputs.len());
            for weight in weights {
                assert_eq!(weight.type_.tensor_type().elem_type, number, "{name}: {}", weight.name);
            }
        }
    }
}

#[test]
fn exports_are_the_same_bytes_each_time() {
    let networks = bundled(DType::F32);
    let (_, program) = networks.iter().find(|(name, _)| *name == "transformer").unwrap();
    let weights = Weights::open(emoji("transformer")).unwrap();
    let bytes = || {
        let files = files(program, &ExportOptions::default(), Some(&weights));
        (fs::read(&files.path).unwrap(), files.data)
    };
    let (first, second) = (bytes(), bytes());
    assert!(first == second);
    assert!(first.0.len() > 50_000 && first.1.len() > 40_000_000, "{} {}", first.0.len(), first.1.len());
}
