//! Every op has all that an op has to have; `docs/adding-an-op.md` says where that is. One that lacks something is found here:
//! that does not print as it parses, costs nothing, cannot be executed, or has no kernel on a GPU.
//!
//! Functions of numbers, which are ops without attributes that work element by element, are found by themselves; of any other
//! op there is an example below. What the processor has of its own is compared with burn in `src/runtime/backend/cpu/tests.rs`.

use reflux_ir::op::OpKind;
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{
    Fact, HostTensor, Machine, Op, Program, ValueId, WeightData, WeightError, WeightSource, verify,
};
use reflux_runtime::{Device, StepResults, distance, load_shared, random_inputs, run_steps};
use serde_json::Map;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The types of `%a`, `%b`, …, and lines over them, of which `%y` is the op and the last is the result.
const EXAMPLES: &[(&[&str], &str)] = &[
    (&[], "%y = position_ids {text=2, rows=3, columns=4} : f32[14,3]"),
    (&[], "%y = relative_buckets {length=5, buckets=32, max_distance=128} : i32[5,5]"),
    (&["f32[2,64]"], "%y = cast %a {dtype=bf16} : bf16[2,64]"),
    (&["bf16[2,3,64]"], "%y = linear %a, @w bf16[32,64], @b bf16[32] : bf16[2,3,32]"),
    (&["bf16[2,16,32]", "bf16[2,32,16]"], "%y = matmul %a, %b : bf16[2,16,16]"),
    (
        &["bf16[1,64,2,64]", "bf16[1,64,2,64]", "bf16[1,64,2,64]"],
        "%y = attention %a, %b, %c {scale=0.125} : bf16[1,64,2,64]",
    ),
    (
        &["bf16[1,64,2,64]", "bf16[1,64,2,64]"],
        "%y = score_bound @q bf16[64], @p bf16[64], @k bf16[64] {queries=2, scale=0.125} : f32[]
         %z = attention %a, %b, %b, %y {scale=0.125, bounded=true} : bf16[1,64,2,64]",
    ),
    (
        &["bf16[1,64,2,128]", "bf16[1,64,2,128]"],
        "%q = quantize %a {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,64,2,128]
         %k = quantize %b {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,64,2,128]
         %y = attention %q, %k, %b {scale=0.125} : bf16[1,64,2,128]",
    ),
    (
        &["bf16[1,64,2,128]", "bf16[1,64,2,128]"],
        "%q = quantize %a {dtype=f8e4m3, scales=row.f32, eps=0.0625} : f8e4m3.row.f32[1,64,2,128]
         %k = quantize %b {dtype=f8e4m3, scales=row.f32, eps=0.0625} : f8e4m3.row.f32[1,64,2,128]
         %y = attention %q, %k, %b {scale=0.125} : bf16[1,64,2,128]",
    ),
    (&["bf16[1,16,8,8]"], "%y = conv2d %a, @w bf16[16,16,3,3] {padding=1} : bf16[1,16,8,8]"),
    (
        &["bf16[2,64]"],
        "%y = quantize %a {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[2,64]
         %z = dequantize %y {dtype=bf16} : bf16[2,64]",
    ),
    (
        &["bf16[2,64]"],
        "%q = quantize %a {dtype=f8e4m3, scales=row.f32, eps=1e-12} : f8e4m3.row.f32[2,64]
         %y = dequantize %q {dtype=bf16} : bf16[2,64]",
    ),
    (
        &["bf16[2,64]"],
        "%q = quantize %a {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,64]
         %y = matmul_i8 %q, @w i8.row.f32[32,64] : i32[2,32]
         %z = rescale %y, %q, @w i8.row.f32[32,64] {dtype=bf16} : bf16[2,32]",
    ),
    (
        &["bf16[2,64]"],
        "%q = quantize %a {dtype=f8e4m3, scales=row.f32, eps=1e-12} : f8e4m3.row.f32[2,64]
         %y = matmul_f8 %q, @w f8e4m3.row.f32[32,64] : f32[2,32]
         %z = rescale %y, %q, @w f8e4m3.row.f32[32,64] {dtype=bf16} : bf16[2,32]",
    ),
    (
        &["bf16[2,64]"],
        "%y = matmul_w8 %a, @w i8.row.bf16[32,64] : bf16[2,32]
         %z = rescale %y, @w i8.row.bf16[32,64] {dtype=bf16} : bf16[2,32]",
    ),
    (
        &["bf16[2,64]"],
        "%q = quantize %a {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,64]
         %acc = matmul_i8 %q, @w i8.row.f32[32,64] : i32[2,32]
         %y = rescale %acc, %q, @w i8.row.f32[32,64] {dtype=bf16} : bf16[2,32]",
    ),
    (&["bf16[2,64]"], "%y = layer_norm %a, @w bf16[64], @b bf16[64] {eps=1e-6} : bf16[2,64]"),
    (&["bf16[2,64]"], "%y = rms_norm %a, @w bf16[64] {eps=1e-6} : bf16[2,64]"),
    (
        &["bf16[1,32,8,8]"],
        "%y = group_norm %a, @w bf16[32], @b bf16[32] {groups=8, eps=1e-6} : bf16[1,32,8,8]",
    ),
    (&["f32[3]"], "%y = timestep_embedding %a {dim=64, max_period=10000.0} : f32[3,64]"),
    (
        &[],
        "%ids = position_ids {text=2, rows=3, columns=4} : f32[14,3]
         %y = rope_table %ids {axes=[16, 24, 24], theta=10000.0} : f32[2,14,32]",
    ),
    (&["bf16[1,14,2,64]", "f32[2,14,32]"], "%y = rope %a, %b : bf16[1,14,2,64]"),
    (&["i32[7]"], "%y = embedding %a, @table bf16[100,64] : bf16[7,64]"),
    (&["i32[2,7]"], "%y = argmax %a : i32[2]"),
    (&["bf16[2,64]"], "%y = mean %a : f32[2]"),
    (&["bf16[2,64]"], "%y = sum %a : bf16[2]"),
    (&["bf16[2,64]"], "%y = amax %a : bf16[2]"),
    (&["bf16[2,64]"], "%y = softmax %a : bf16[2,64]"),
    (&["bf16[2,64]", "bf16[64]", "bf16[2,64]"], "%y = where %a, %b, %c : bf16[2,64]"),
    (&["bf16[1,16,8,8]"], "%y = max_pool2d %a {kernel=2, stride=2} : bf16[1,16,4,4]"),
    (&["bf16[1,16,8,8]"], "%y = avg_pool2d %a {kernel=2, stride=2} : bf16[1,16,4,4]"),
    (&["bf16[3,4,64]", "i32[3]"], "%y = select %a, %b : bf16[3,64]"),
    (&["bf16[2,64]"], "%y = reshape %a {shape=[4, 32]} : bf16[4,32]"),
    (&["bf16[2,64]"], "%y = transpose %a {perm=[1, 0]} : bf16[64,2]"),
    (&["bf16[2,64]", "bf16[2,32]"], "%y = concat %a, %b {axis=1} : bf16[2,96]"),
    (&["bf16[2,64]"], "%y = slice %a {axis=1, start=8, end=40} : bf16[2,32]"),
    (
        &["bf16[2,6,64]"],
        "%y = shard %a {devices=2, axis=1, parts=[2, 4]} : bf16[2,3,64]
         %z = all_gather %y {devices=2, axis=1, parts=[2, 4]} : bf16[2,6,64]",
    ),
    (
        &["bf16[2,6,64]"],
        "%own = shard %a {devices=2, axis=1} : bf16[2,3,64]
         %y = all_gather %own {devices=2, axis=1} : bf16[2,6,64]",
    ),
    (
        &["bf16[1,6,4,64]"],
        "%own = shard %a {devices=2, axis=1} : bf16[1,3,4,64]
         %y = all_to_all %own {devices=2, split=2, concat=1} : bf16[1,6,2,64]
         %z = all_gather %y {devices=2, axis=2} : bf16[1,6,4,64]",
    ),
    (&["bf16[1,16,4,4]"], "%y = upsample %a {factor=2} : bf16[1,16,8,8]"),
    (&["bf16[2,64]", "bf16[64]"], "%y = rowwise silu(%a) * %b : bf16[2,64]"),
    (&["bf16[2,64]"], "%y = gemm linear(%a, @w bf16[32,64]) {silu(acc)} : bf16[2,32]"),
];

/// The ops that the CUDA engine leaves to burn: no step of FLUX.1 has one of them.
const WITHOUT_KERNEL: &[&str] =
    &["score_bound", "matmul", "sum", "amax", "softmax", "where", "max_pool2d", "avg_pool2d"];

/// A program of one op, `%y`.
struct Example {
    name: String,
    program: Program,
}

impl Example {
    fn new(types: &[&str], lines: &str) -> Self {
        let inputs: Vec<_> = ["%a", "%b", "%c"].into_iter().zip(types).collect();
        let declared: String =
            inputs.iter().map(|(name, fact)| format!("input {name} : {fact} latent\n")).collect();
        let read: Vec<_> = inputs.iter().map(|(name, _)| *name).collect();
        let result = lines.lines().last().and_then(|line| line.split_whitespace().next()).unwrap();
        let source = format!(
            "program p {{ {declared} variant main ({}) -> (%out) {{\n{lines}\nreturn {result} }} schedule main }}",
            read.join(", ")
        );
        let program = parse(&source).unwrap_or_else(|error| panic!("{error}"));
        let graph = &program.variants["main"];
        Self { name: graph[graph.find("y").unwrap()].op.name().to_owned(), program }
    }

    fn y(&self) -> ValueId {
        self.program.variants["main"].find("y").unwrap()
    }

    fn op(&self) -> &Op {
        &self.program.variants["main"][self.y()].op
    }

    /// The same op as a formula, if it can be part of one.
    fn in_formula(&self) -> Option<Program> {
        let graph = &self.program.variants["main"];
        let written = |id: ValueId| match graph.is_leaf(id) {
            true => format!("{} {}", graph.operand(id), graph[id].fact),
            false => graph.operand(id).to_string(),
        };
        let operands: Vec<_> = graph.operands(self.y()).into_iter().map(written).collect();
        let formula = self.op().term(&operands);
        let fused = format!("%y = rowwise {formula} : {}", graph[self.y()].fact);
        let source = self.program.to_string().replace(&graph.line(self.y()), &fused);
        let by_rows = self.op().works_by_rows();
        by_rows.then(|| parse(&source).unwrap_or_else(|error| panic!("{error}\n{source}")))
    }
}

/// One example of each op that is computed.
fn examples() -> Vec<Example> {
    let functions = Op::kinds().filter(|(_, kind)| *kind == OpKind::Elementwise).filter_map(|(name, _)| {
        let op = Op::from_text(name, Map::new())?.ok()?;
        let operands = *op.arity().start();
        let line = format!("%y = {name} {} : bf16[2,64]", ["%a", "%b"][..operands].join(", "));
        Some(Example::new(&["bf16[2,64]"; 2][..operands], &line))
    });
    let others = EXAMPLES.iter().map(|(types, lines)| Example::new(types, lines));
    functions.chain(others).collect()
}

/// Tensors of positive numbers, of which powers and roots are numbers too.
struct Positive;

fn positive(count: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(count as u64);
    (0..count).map(|_| 0.1 + rng.f32()).collect()
}

impl WeightSource for Positive {
    fn weight(&self, _name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let tensor = HostTensor::from_f32(fact.shape.to_vec(), &positive(fact.shape.elements()));
        Ok(tensor.cast(fact.unquantized().dtype).into())
    }
}

fn run(program: &Program) -> StepResults {
    let mut executor = load_shared(Device::host(), program.clone(), Arc::new(Positive)).unwrap();
    let inputs = random_inputs(program, &[], &mut |count| positive(count));
    run_steps(executor.as_mut(), &inputs).unwrap()
}

#[test]
fn there_is_an_example_of_every_op() {
    let names: BTreeSet<String> = examples().into_iter().map(|example| example.name).collect();
    let computed = Op::kinds().filter(|(_, kind)| kind.is_computed()).map(|(name, _)| name.to_owned());
    assert_eq!(names, computed.collect());
}

#[test]
fn every_op_prints_as_it_parses() {
    for Example { program, name } in examples() {
        verify(&program).unwrap_or_else(|error| panic!("{error}"));
        let h100 = Machine::named("h100");
        let with_costs =
            PrintOptions { costs: true, machine: h100, provenance: true, unrolled: true, blocks: None };
        for options in [PrintOptions::default(), with_costs] {
            assert_eq!(parse(&program.print(&options)).as_ref(), Ok(&program), "{name}");
        }
    }
}

#[test]
fn every_op_costs_something_on_every_machine() {
    for example in examples() {
        let (graph, kind) = (&example.program.variants["main"], example.op().kind());
        let cost = graph.cost(example.y());
        assert_eq!(cost.bytes > 0, !kind.is_free(), "{}", example.name);
        let computes =
            !kind.is_free() && !matches!(kind, OpKind::Movement | OpKind::Position | OpKind::Collective);
        assert!(cost.flops > 0 || !computes, "{}", example.name);
        for machine in Machine::NAMES.iter().map(|name| Machine::named(name).unwrap()) {
            let is_paid = !kind.is_free() && graph[example.y()].fact.rate > reflux_ir::Rate::Weights;
            assert_eq!(
                machine.of_value(graph, example.y()) > 0,
                is_paid,
                "{} on {}",
                example.name,
                machine.name
            );
        }
    }
}

#[test]
fn every_op_is_executed_by_itself_and_in_formulas() {
    for example in examples() {
        let results = run(&example.program);
        let result = &results[0]["out"];
        let expected = &example.program.variants["main"].outputs()[0];
        let fact = &example.program.variants["main"][expected.value].fact;
        assert_eq!((&result.shape[..], result.dtype), (&fact.shape[..], fact.dtype), "{}", example.name);
        assert!(result.to_f32().iter().all(|number| number.is_finite()), "{}", example.name);
        if let Some(fused) = example.in_formula() {
            let apart = distance(&run(&fused), &results);
            assert!(apart < 1e-2, "{}: {apart} from itself in a formula", example.name);
        }
    }
}

#[cfg(feature = "cuda")]
#[test]
fn every_op_has_a_kernel() {
    use reflux_runtime::backend::cuda::{Gpu, plan};
    let h100 = Gpu { capability: (9, 0), processors: 132, rank: 0 };
    for example in examples() {
        for program in [Some(example.program.clone()), example.in_formula()].into_iter().flatten() {
            let plan = plan(&program.variants["main"], h100);
            let without: Vec<_> = plan.foreign().map(|op| (op.name.to_string(), op.why.clone())).collect();
            let is_left = WITHOUT_KERNEL.contains(&&*example.name);
            assert_eq!(!without.is_empty(), is_left, "{}: {without:?}", example.name);
        }
    }
}

/// A function is in each of the files that the page names for it, and these are four at most.
#[test]
fn functions_are_in_the_files_that_the_page_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/adding-an-op.md")).unwrap();
    for (row, functions) in [
        ("| a function of one number", names(reflux_ir::op::Unary::ALL)),
        ("| a function of two numbers", names(reflux_ir::op::Binary::ALL)),
    ] {
        let row = page.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row `{row}`"));
        let files: Vec<&str> = row.split("](../").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert_eq!(files.len(), 4, "{row}");
        for file in files {
            let text =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            // An arm, alone or with others, or a line of the family.
            let has = |function: &&String| {
                let forms =
                    [format!("::{function} =>"), format!("::{function} |"), format!(" {function} = \"")];
                forms.iter().any(|form| text.contains(form))
            };
            let missing: Vec<_> = functions.iter().filter(|function| !has(function)).collect();
            assert!(missing.is_empty(), "{file} lacks {missing:?}");
        }
    }
}

fn names(functions: &[impl std::fmt::Debug]) -> Vec<String> {
    functions.iter().map(|function| format!("{function:?}")).collect()
}
