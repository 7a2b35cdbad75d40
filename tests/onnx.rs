//! ONNX files give what onnxruntime and the ONNX backend test suite say; `tests/tools/onnx_cases.py` makes the cases.

use crate::common::fixtures::{relative_l2, repo};
use reflux::ir::pass::{Driver, Pipeline};
use reflux::ir::{DType, HostTensor, Program, Rate};
use reflux::models::onnx::{self, Dims, OnnxError, OnnxWeights};
use reflux::registry;
use reflux_runtime::{Device, RunError, load};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What an ONNX file is to do.
#[derive(Default)]
struct Case {
    model: Vec<u8>,
    inputs: BTreeMap<String, HostTensor>,
    outputs: BTreeMap<String, HostTensor>,
}

/// The cases of a file, by name.
fn cases(name: &str) -> BTreeMap<String, Case> {
    let bytes = std::fs::read(repo("tests/fixtures/onnx").join(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for (key, view) in file.iter() {
        let mut parts = key.splitn(3, '/');
        let case = cases.entry(parts.next().unwrap().to_owned()).or_default();
        match (parts.next().unwrap(), parts.next()) {
            ("model", _) => case.model = view.data().to_vec(),
            ("in", Some(name)) => drop(case.inputs.insert(name.to_owned(), host(&view))),
            (_, name) => drop(case.outputs.insert(name.unwrap().to_owned(), host(&view))),
        }
    }
    cases
}

/// A tensor as programs have it: truth, which is stored in bytes, as 0 and 1 in f32.
fn host(view: &TensorView) -> HostTensor {
    let (shape, data) = (view.shape().to_vec(), view.data());
    let numbers = |bytes: usize| data.chunks_exact(bytes);
    match view.dtype() {
        Dtype::U8 => {
            HostTensor::from_f32(shape, &data.iter().map(|&byte| f32::from(byte)).collect::<Vec<_>>())
        }
        Dtype::I64 => {
            let small = numbers(8).map(|bytes| {
                i64::from_le_bytes(bytes.try_into().unwrap()).clamp(-1 << 31, (1 << 31) - 1) as i32
            });
            HostTensor::from_i32(shape, &small.collect::<Vec<_>>())
        }
        Dtype::I32 => HostTensor::new(DType::I32, shape, data.to_vec()),
        Dtype::F16 => HostTensor::new(DType::F16, shape, data.to_vec()),
        Dtype::F32 => HostTensor::new(DType::F32, shape, data.to_vec()),
        other => panic!("{other:?}"),
    }
}

type Tensors = BTreeMap<String, HostTensor>;

/// Runs `program`, whose inputs are called as those of the file.
fn run(program: Program, weights: &OnnxWeights, inputs: &Tensors) -> Result<Tensors, RunError> {
    let mut executor = load(Device::host(), program, weights)?;
    for (name, tensor) in inputs {
        // Those that nothing reads are no inputs, and a name has other characters here.
        let own = name.replace(['/', ':'], ".");
        if executor.program().inputs.iter().any(|input| *input.name == *own) {
            executor.bind(&own, tensor)?;
        }
    }
    Ok(executor.step(0)?.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// How far results are from what they should be at most: relative to the numbers' size, and to 1 where they are small.
fn error(found: &HostTensor, expected: &HostTensor) -> f64 {
    assert_eq!(found.shape, expected.shape);
    let apart = |(&a, &b): (&f32, &f32)| match a == b || (a.is_nan() && b.is_nan()) {
        true => 0.0,
        false => f64::from((a - b).abs()) / f64::from(b.abs()).max(1.0),
    };
    // NaN is far from everything.
    let worst = |worst: f64, apart: f64| if apart <= worst { worst } else { apart };
    found.to_f32().iter().zip(&expected.to_f32()).map(apart).fold(0.0, worst)
}

/// What became of a case.
enum Outcome {
    Error(f64),
    Refused(String),
}

fn outcome(name: &str, case: &Case) -> Outcome {
    let path = Path::new(name);
    match onnx::parse(path, case.model.clone(), &Dims::default()) {
        Err(OnnxError::Nodes { nodes, .. }) => Outcome::Refused(nodes[0].why.clone()),
        Err(error) => Outcome::Refused(error.to_string().replace(name, "it")),
        Ok((program, weights)) => {
            let found = match run(program, &weights, &case.inputs) {
                Ok(found) => found,
                Err(error) => return Outcome::Refused(format!("when it runs: {error}")),
            };
            let worst = case.outputs.iter().map(|(output, expected)| {
                let found = found
                    .get(&output.replace(['/', ':'], "."))
                    .unwrap_or_else(|| panic!("{name}: no {output}"));
                error(found, expected)
            });
            Outcome::Error(worst.fold(0.0, f64::max))
        }
    }
}

/// The farthest that sums in another order and other polynomials put f32 results apart.
const TOLERANCE: f64 = 1e-5;

#[test]
fn every_op_gives_what_onnxruntime_gives() {
    for (name, case) in cases("ops.safetensors") {
        match outcome(&name, &case) {
            Outcome::Error(error) => assert!(error <= TOLERANCE, "{name}: {error:.1e}"),
            Outcome::Refused(why) => panic!("{name}: {why}"),
        }
    }
}

/// Cases in which onnxruntime differs from the suite, and so do we: for aligned corners it divides by the new extent, as torch does,
/// not by the old one times the scale.
const AS_ONNXRUNTIME: [&str; 2] = [
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
];

/// Of the suite's cases those that are lowered give what they should; the snapshot says which are not, and why.
#[test]
fn the_backend_test_suite() {
    let mut table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut passed, mut wrong) = (0, Vec::new());
    for (name, case) in cases("node.safetensors") {
        match catch_unwind(AssertUnwindSafe(|| outcome(&name, &case))) {
            // Those in f16 are rounded.
            Ok(Outcome::Error(error)) if error <= 2e-3 => passed += 1,
            Ok(Outcome::Error(_)) if AS_ONNXRUNTIME.contains(&&*name) => {
                table.entry("as onnxruntime".into()).or_default().push(name);
            }
            Ok(Outcome::Error(error)) => wrong.push(format!("{name}: {error:.1e}")),
            Ok(Outcome::Refused(why)) => table.entry(why).or_default().push(name),
            Err(_) => wrong.push(format!("{name}: panicked")),
        }
    }
    let refused: usize = table.values().map(Vec::len).sum();
    let mut text = format!("passed {passed}, refused {refused}, wrong {}\n", wrong.len());
    for (why, names) in &table {
        writeln!(text, "\n{why}:\n  {}", names.join(" ")).unwrap();
    }
    assert_eq!(wrong, Vec::<String>::new(), "{text}");
    snapshot!("onnx__the_backend_test_suite", text);
}

fn fixture(name: &str) -> (std::path::PathBuf, Case) {
    let folder = repo("tests/fixtures/onnx");
    let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| (name.to_owned(), host(&view))).collect::<BTreeMap<_, _>>();
    (
        folder.join(format!("{name}.onnx")),
        Case { inputs: tensors.clone(), outputs: tensors, ..Case::default() },
    )
}

/// Asserts that `program` gives what onnxruntime or torch gave.
fn assert_graph(what: &str, program: Program, weights: &OnnxWeights, case: &Case) {
    for (name, found) in run(program, weights, &case.inputs).unwrap() {
        let apart = relative_l2(&found, &case.outputs[&name]);
        println!("{what}: {name} is {apart:.1e} from theirs");
        assert!(apart <= TOLERANCE, "{what}: {name} is {apart:.1e} from theirs");
    }
}

/// Networks, and whether they are shown as they are lowered too; `tests/tools/onnx_networks.py` makes those that are not.
const GRAPHS: [(&str, bool); 7] = [
    ("flux_block", true),
    ("clip_text", true),
    ("conv_net", true),
    ("clip", false),
    ("t5_encoder", false),
    ("t5_encoder_old", false),
    ("vit", false),
];

#[test]
fn whole_graphs_give_what_others_give() {
    for (name, is_shown) in GRAPHS {
        let (path, case) = fixture(name);
        let batch = case.inputs.get("x").map(|x| ("batch".to_owned(), x.shape[0]));
        let dims = Dims { extents: batch.into_iter().collect(), ..Dims::default() };
        let (program, weights) = onnx::open(&path, &dims).unwrap();
        if is_shown {
            snapshot!(format!("onnx__{name}"), program.to_string());
        }
        assert_graph(name, program.clone(), &weights, &case);
        for passes in ["raise", "raise,canonicalize,hoist,canonicalize,merge-linear,fuse,dce"] {
            let pipeline = Pipeline::parse(passes, &registry()).unwrap();
            let (optimized, _) = Driver::default().run(program.clone(), &pipeline).unwrap();
            if passes == "raise" {
                snapshot!(format!("onnx__{name}_raised"), optimized.to_string());
            }
            assert_graph(&format!("{name} after {passes}"), optimized, &weights, &case);
        }
    }
}

/// What is told of inputs: their extents, and how often they change.
#[test]
fn inputs_have_the_extents_and_rates_that_are_told() {
    let (path, _) = fixture("conv_net");
    let refused = |dims: &Dims| {
        onnx::open(&path, dims).err().unwrap().to_string().replace(&path.display().to_string(), "FILE")
    };
    let dims = |name: &str, rate: Option<&str>| Dims {
        extents: [(name.to_owned(), 3)].into(),
        rates: rate.map(|input| (input.to_owned(), Rate::Prompt)).into_iter().collect(),
    };
    snapshot!(
        "onnx__inputs",
        [refused(&Dims::default()), refused(&dims("batches", None)), refused(&dims("batch", Some("y")))]
            .join("\n")
    );
    let (program, _) = onnx::open(&path, &dims("batch", Some("x"))).unwrap();
    assert_eq!((program.inputs[0].fact.shape[0], program.inputs[0].fact.rate), (3, Rate::Prompt));
}

/// Passes that were written for FLUX.1 fire on a block of it that torch has exported, as often as there is what they are for.
#[test]
fn passes_fire_on_an_exported_block() {
    let (path, case) = fixture("flux_block");
    let dims = Dims { rates: [("temb".to_owned(), Rate::Schedule)].into(), ..Dims::default() };
    let (program, weights) = onnx::open(&path, &dims).unwrap();
    let passes = "raise,canonicalize,hoist,canonicalize,quantize(int8dq),merge-linear,fuse,dce";
    let pipeline = Pipeline::parse(passes, &registry()).unwrap();
    let (optimized, report) = Driver::default().run(program, &pipeline).unwrap();
    let hits = |rule: &str| {
        report.passes.iter().filter_map(|pass| pass.rules.get(rule)).map(|stats| stats.hits).sum::<usize>()
    };
    // Of ten linears: the modulations of both streams, q, k and v as one, the output, and two of the MLP.
    assert_eq!(hits("quantize"), 10, "{report}");
    // Both modulations depend on the time alone.
    assert!(hits("hoist") >= 2, "{report}");
    let step = &optimized.variants["run"];
    let left = |name: &str| step.ids().filter(|&id| step[id].op.name() == name).count();
    for apart in
        ["linear", "softmax", "sqrt", "tanh", "sigmoid", "layer_norm", "rms_norm", "gelu_tanh", "matmul"]
    {
        assert_eq!(left(apart), 0, "{apart}\n{optimized}");
    }
    // All linears but the modulations; where computing a product twice costs less than keeping it, `fuse` does.
    assert!(left("attention") == 1 && left("gemm") >= 8, "{optimized}");
    for (name, found) in run(optimized, &weights, &case.inputs).unwrap() {
        let apart = relative_l2(&found, &case.outputs[&name]);
        assert!((1e-4..2e-2).contains(&apart), "{name}: {apart:.1e} after int8");
    }
}
