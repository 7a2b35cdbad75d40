//! Numeric twins: programs before and after passes, run on the burn executor with the same weights and inputs.
//!
//! Exact passes keep every bit, reassociating ones stay within 1e-5. Every twin also checks that the ops executed are
//! those of the program as printed.

#[allow(dead_code, reason = "twins need no fixtures")]
use crate::common::fixtures::{emoji, relative_l2};
use reflux_ir::op::{Reshape, Unary};
use reflux_ir::pass::{
    About, Changed, Driver, Exactness, Pass, PassContext, PassError, PassInfo, Pipeline, PipelineReport,
    options_of,
};
use reflux_ir::{DType, Fact, HostTensor, ModulePath, Name, Op, Patch, Program, Stage, WeightSource, text};
use reflux_models::noise::TorchGenerator;
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{ModelConfig, Sizes, flux1};
use reflux_passes::{METHODS, registry};
use reflux_runtime::{Device, load};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

type Results = Vec<HashMap<Name, HostTensor>>;

/// What a twin runs on: one program's inputs by name.
type Inputs = Vec<(String, HostTensor)>;

fn optimize(program: Program, passes: &str) -> (Program, PipelineReport) {
    let pipeline = Pipeline::parse(passes, &registry().with(CROP)).unwrap();
    let times: Vec<f32> = (0..program.schedule.len()).map(|step| 1000.0 - 60.0 * step as f32).collect();
    Driver { timesteps: Some(&times), ..Driver::default() }.run(program, &pipeline).unwrap()
}

/// The results of every step of the program as it prints.
fn run(program: &Program, weights: &dyn WeightSource, inputs: &Inputs) -> Results {
    let printed = text::parse(&program.to_string()).unwrap();
    assert_eq!(printed, *program, "what runs is what prints");
    let mut executor = load(Device::host(), printed, weights).unwrap();
    executor.set_profiling(true);
    for (name, value) in inputs {
        executor.bind(name, value).unwrap();
    }
    let mut ran: BTreeMap<Name, u64> = BTreeMap::new();
    let mut results = Vec::new();
    for (step, scheduled) in program.schedule.iter().enumerate() {
        results.push(executor.step(step).unwrap());
        // A probe runs first, and then what it has chosen.
        let probe = Some(scheduled).filter(|scheduled| program.is_probe(scheduled));
        for variant in probe.into_iter().chain(executor.ran()) {
            *ran.entry(variant.clone()).or_default() += 1;
        }
    }
    let executed: BTreeMap<_, _> = executor
        .profile()
        .unwrap()
        .entries()
        .into_iter()
        .map(|entry| ((entry.stage.to_string(), entry.name.clone()), (entry.op, entry.calls)))
        .collect();
    assert_eq!(executed, expected_calls(program, &ran));
    results
}

/// Every op of every stage that runs, and how often it must where variants run as often as `ran` says.
fn expected_calls(
    program: &Program,
    ran: &BTreeMap<Name, u64>,
) -> BTreeMap<(String, Name), (&'static str, u64)> {
    let mut calls = BTreeMap::new();
    for (stage, graph) in program.stages() {
        let times = match &stage {
            Stage::Prepare(_) => 1,
            Stage::Variant(name) => ran.get(name).copied().unwrap_or(0),
        };
        for id in graph.ids().filter(|&id| times > 0 && !graph.is_leaf(id)) {
            let node = &graph[id];
            if !matches!(node.op, Op::Input(_)) {
                calls.insert((stage.to_string(), node.name.clone()), (node.op.name(), times));
            }
        }
    }
    calls
}

/// Noise for every float input.
fn random_inputs(program: &Program, seed: u64) -> Inputs {
    let mut generator = TorchGenerator::new(seed);
    let floats = program.inputs.iter().filter(|input| input.fact.dtype.is_float());
    floats
        .map(|input| {
            let noise = generator.randn_f32(input.fact.shape.elements());
            (input.name.to_string(), HostTensor::from_f32(input.fact.shape.to_vec(), &noise))
        })
        .collect()
}

/// The largest relative distance between results of the same name and step.
fn distance(a: &Results, b: &Results) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| b.iter().map(|(name, value)| (&a[name], value)));
    pairs.map(|(a, b)| if a.bytes == b.bytes { 0.0 } else { relative_l2(a, b) }).fold(0.0, f64::max)
}

/// Runs `program` before and after `passes`, and asserts what their exactness promises.
fn assert_twins(what: &str, program: &Program, passes: &str, weights: &dyn WeightSource) {
    Twins::new(what, program, passes, weights).check();
}

/// A program before and after passes, to be run with the same weights and inputs. What it must come to is what the passes
/// promise, unless more is said.
struct Twins<'a> {
    what: &'a str,
    program: &'a Program,
    passes: &'a str,
    weights: &'a dyn WeightSource,
    /// How far results of lossy passes are at least and at most.
    lossy: Option<RangeInclusive<f64>>,
    inputs: &'a dyn Fn(Inputs) -> Inputs,
    results: &'a dyn Fn(Results) -> Results,
}

impl<'a> Twins<'a> {
    fn new(what: &'a str, program: &'a Program, passes: &'a str, weights: &'a dyn WeightSource) -> Self {
        Self {
            what,
            program,
            passes,
            weights,
            lossy: None,
            inputs: &|inputs| inputs,
            results: &|results| results,
        }
    }

    /// Of lossy passes: how far from the results before those after may be, and, so that they are seen to do something, must
    /// be; relative L2, of the worst result of the worst step.
    fn lossy(self, distance: RangeInclusive<f64>) -> Self {
        Self { lossy: Some(distance), ..self }
    }

    /// Of passes that change the shapes of inputs: what the program after them is given instead of `inputs`.
    fn inputs(self, inputs: &'a dyn Fn(Inputs) -> Inputs) -> Self {
        Self { inputs, ..self }
    }

    /// Of passes that change the shapes of results: what of the results before is to be compared with those after.
    fn results(self, results: &'a dyn Fn(Results) -> Results) -> Self {
        Self { results, ..self }
    }

    fn check(self) {
        let Self { what, program, passes, weights, .. } = self;
        let given = random_inputs(program, 17);
        let (optimized, report) = optimize(program.clone(), passes);
        assert!(report.passes.iter().any(|pass| pass.changed), "{what}: {passes} changes nothing");
        let exactness = report.passes.iter().map(|pass| pass.exactness).max().unwrap();
        let allowed = match (exactness, self.lossy) {
            (Exactness::Exact, None) => 0.0..=0.0,
            (Exactness::Reassociating, None) => 0.0..=1e-5,
            (Exactness::Lossy, Some(distance)) => distance,
            (Exactness::Lossy, None) => {
                panic!("{passes} is lossy: say how far its results may be, as in `.lossy(1e-4..=1e-2)`")
            }
            (exactness, Some(_)) => {
                panic!("{passes} is {exactness}, so its results may not differ as lossy ones")
            }
        };
        let expected = (self.results)(run(program, weights, &given));
        let apart = distance(&run(&optimized, weights, &(self.inputs)(given)), &expected);
        println!("{what}, {passes} ({exactness}): {apart:.2e}");
        let (least, most) = (allowed.start(), allowed.end());
        assert!(
            allowed.contains(&apart),
            "{what}, {passes}: {apart:.3e} is not in {least:.0e} to {most:.0e}"
        );
    }
}

/// Keeps the first tokens of every input and result: a pass that changes shapes, for programs whose tokens do not see each
/// other.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Crop {
    tokens: usize,
}

const CROP: PassInfo = PassInfo {
    name: "crop",
    summary: "fewer tokens",
    positional: Some("tokens"),
    example: "crop(2)",
    about: About::of::<Crop>,
    build: PassInfo::from_options::<Crop>,
};

impl Pass for Crop {
    fn name(&self) -> &'static str {
        "crop"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn run(&self, program: &mut Program, _: &mut PassContext) -> Result<Changed, PassError> {
        let cropped = |fact: &Fact| {
            let mut shape = fact.shape.to_vec();
            shape[1] = self.tokens;
            Fact { shape: shape.into(), ..fact.clone() }
        };
        program.inputs.iter_mut().for_each(|input| input.fact = cropped(&input.fact));
        for (_, graph) in program.stages_mut() {
            *graph = graph.rebuilt(
                |input| cropped(&input.fact),
                |node, _| match &node.op {
                    Op::Reshape(_) => Reshape { shape: cropped(&node.fact).shape }.into(),
                    op => op.clone(),
                },
            )?;
        }
        Ok(Changed::Yes)
    }
}

const TOKENS: &str = "
program tokens {
  input %x : f32[1,6,8] latent
  variant main (%x) -> (%y) {
    %h = linear %x, @.weight f32[16,8], @.bias f32[16] : f32[1,6,16] in up
    %r = reshape %h {shape=[1, 6, 2, 8]} : f32[1,6,2,8]
    %n = rms_norm %r, @.weight f32[8] {eps=1e-6} : f32[1,6,2,8] in norm
    %y = tanh %n : f32[1,6,2,8]
    return %y
  }
  schedule main*2
}";

/// What a pass that changes shapes is given, and what of the results before it makes, is for its test to say.
#[test]
fn shapes_change_with_a_pass() {
    let tokens = text::parse(TOKENS).unwrap();
    let first = |tensor: &HostTensor| {
        let mut shape = tensor.shape.clone();
        let width: usize = shape[2..].iter().product();
        shape[1] = 2;
        HostTensor::from_f32(shape, &tensor.to_f32()[..2 * width])
    };
    Twins::new("tokens", &tokens, "crop(2)", &RandomWeights::new(&tokens, 11))
        .inputs(&|inputs| inputs.into_iter().map(|(name, tensor)| (name, first(&tensor))).collect())
        .results(&|results| {
            let step = |step: HashMap<Name, HostTensor>| {
                step.into_iter().map(|(name, tensor)| (name, first(&tensor))).collect()
            };
            results.into_iter().map(step).collect()
        })
        .check();
}

/// The bundled transformer on small pictures.
fn flux(batch: usize, steps: usize) -> (Program, Weights) {
    let config = ModelConfig::read(&emoji()).unwrap();
    let sizes = Sizes { batch, steps, text_tokens: 20, height: 32, width: 64, reference: None };
    let weights = Weights::open(emoji().join(flux1::TRANSFORMER.folder)).unwrap();
    (config.lower(&flux1::TRANSFORMER, &sizes, DType::F32).unwrap(), weights)
}

/// A network with none of FLUX's names: two residual blocks of attention and an MLP, modulated by a time of each step.
const OTHER: &str = "
program other {
  input %signal : f32[1,24,16] latent
  input %clock : f32[5,1] schedule
  input %hint : f32[1,24,8] prompt
  input %step : i32[] latent
  variant main (%signal, %clock, %hint, %step) -> (%out) {
    %now = select %clock, %step : f32[1]
    %waves = timestep_embedding %now {dim=32, max_period=100.0} : f32[1,32]
    %gates = linear %waves, @clock.weight f32[16,32], @clock.bias f32[16] : f32[1,16]
    %told = linear %hint, @hint.weight f32[16,8] : f32[1,24,16]
    %z = add %signal, %told : f32[1,24,16]
    repeat %i in 0..2 (%y.prev = %z) in layers.{i} {
      %open = silu %gates : f32[1,16]
      %gain = linear %open, @.weight f32[16,16] : f32[1,16] in .gain
      %n = rms_norm %y.prev, @.weight f32[16] {eps=1e-5} : f32[1,24,16] in .norm
      %q = linear %n, @.weight f32[16,16] : f32[1,24,16] in .q
      %k = linear %n, @.weight f32[16,16] : f32[1,24,16] in .k
      %v = linear %n, @.weight f32[16,16] : f32[1,24,16] in .v
      %q4 = reshape %q {shape=[1, 24, 2, 8]} : f32[1,24,2,8]
      %k4 = reshape %k {shape=[1, 24, 2, 8]} : f32[1,24,2,8]
      %v4 = reshape %v {shape=[1, 24, 2, 8]} : f32[1,24,2,8]
      %a4 = attention %q4, %k4, %v4 {scale=0.35} : f32[1,24,2,8]
      %a = reshape %a4 {shape=[1, 24, 16]} : f32[1,24,16]
      %o = linear %a, @.weight f32[16,16], @.bias f32[16] : f32[1,24,16] in .out
      %go = mul %gain, %o : f32[1,24,16]
      %m = add %y.prev, %go : f32[1,24,16]
      %up = linear %m, @.weight f32[64,16] : f32[1,24,64] in .up
      %act = gelu %up : f32[1,24,64]
      %down = linear %act, @.weight f32[16,64] : f32[1,24,16] in .down
      %y = add %down, %m : f32[1,24,16]
      yield %y
    }
    %out = mul %y.1, %gates : f32[1,24,16]
    return %out
  }
  schedule main*5
}";

fn other() -> Program {
    text::parse(OTHER).unwrap()
}

/// Every way to write something twice.
const REDUNDANT: &str = "
program redundant {
  input %x : bf16[4,6] latent
  variant main (%x) -> (%y) {
    %a = mul 1.0, %x : bf16[4,6]
    %b = cast %a {dtype=f32} : f32[4,6]
    %c = cast %b {dtype=bf16} : bf16[4,6]
    %d = reshape %c {shape=[2, 12]} : bf16[2,12]
    %e = reshape %d {shape=[4, 6]} : bf16[4,6]
    %f = transpose %e {perm=[1, 0]} : bf16[6,4]
    %g = transpose %f {perm=[1, 0]} : bf16[4,6]
    %h = concat %g, %x {axis=0} : bf16[8,6]
    %i = slice %h {axis=0, start=1, end=4} : bf16[3,6]
    %j = slice %i {axis=0, start=1, end=3} : bf16[2,6]
    %k = silu %j : bf16[2,6]
    %l = silu %j : bf16[2,6]
    %m = add 0.1 bf16, 0.2 bf16 : bf16[]
    %n = sub %k, %m : bf16[2,6]
    %y = div %n, %l : bf16[2,6]
    return %y
  }
  schedule main
}";

#[test]
fn canonicalize_is_exact() {
    let redundant = text::parse(REDUNDANT).unwrap();
    assert_twins("redundant", &redundant, "canonicalize", &RandomWeights::new(&redundant, 1));
    let (flux, weights) = flux(1, 2);
    assert_twins("flux", &flux, "canonicalize", &weights);
}

#[test]
fn hoist_reassociates() {
    let other = other();
    assert_twins("other", &other, "hoist", &RandomWeights::new(&other, 2));
    for batch in [1, 2] {
        let (flux, weights) = flux(batch, 3);
        assert_twins(&format!("flux, batch {batch}"), &flux, "hoist", &weights);
        assert_twins(&format!("flux, batch {batch}"), &flux, reflux_passes::LOSSLESS, &weights);
    }
}

#[test]
fn bound_attention_reassociates() {
    let (flux, weights) = flux(1, 2);
    assert_twins("flux", &flux, "bound-attention", &weights);
}

/// No score is beyond its bound, and one of a pair of the largest weights nearly is it.
#[test]
fn bounds_hold() {
    let program = text::parse(
        "program p {
           input %x : f32[1,7,2,8] latent
           input %y : f32[1,7,2,8] latent
           variant main (%x, %y) -> (%scores, %bound) {
             %ids = position_ids {text=3, rows=2, columns=2} : f32[7,3]
             %table = rope_table %ids {axes=[2, 2, 4], theta=10000.0} : f32[2,7,4]
             %x_norm = rms_norm %x, @norm_q f32[8] {eps=1e-6} : f32[1,7,2,8]
             %y_norm = rms_norm %y, @norm_k f32[8] {eps=1e-6} : f32[1,7,2,8]
             %x_rope = rope %x_norm, %table : f32[1,7,2,8]
             %y_rope = rope %y_norm, %table : f32[1,7,2,8]
             %q = transpose %x_rope {perm=[0, 2, 1, 3]} : f32[1,2,7,8]
             %k = transpose %y_rope {perm=[0, 2, 3, 1]} : f32[1,2,8,7]
             %product = matmul %q, %k : f32[1,2,7,7]
             %scores = mul %product, 0.35 : f32[1,2,7,7]
             %bound = score_bound @norm_q f32[8], @norm_k f32[8] {queries=1, scale=0.35} : f32[]
             return %scores, %bound
           }
           schedule main
         }",
    )
    .unwrap();
    let mut nearest: f32 = 0.0;
    for seed in 0..20 {
        let weights = RandomWeights::new(&program, seed);
        // Rows of one number each are as long in one pair as a row can be.
        let mut inputs = random_inputs(&program, seed);
        if seed % 2 == 1 {
            let alone =
                (0..7 * 2 * 8).map(|at| if at % 8 == (at / 8 + seed as usize) % 8 { 3.0 } else { 0.0 });
            let alone = HostTensor::from_f32([1, 7, 2, 8], &alone.collect::<Vec<f32>>());
            inputs.iter_mut().for_each(|(_, value)| *value = alone.clone());
        }
        let results = run(&program, &weights, &inputs);
        let of = |name: &str| results[0][&Name::from(name)].to_f32();
        let largest = of("scores").into_iter().map(f32::abs).fold(0.0, f32::max);
        assert!(largest <= of("bound")[0], "seed {seed}: {largest} of {:?}", of("bound"));
        nearest = nearest.max(largest / of("bound")[0]);
    }
    assert!(nearest > 0.9, "{nearest}");
}

/// Hoisting after quantizing keeps every code: scales are per row.
#[test]
fn hoist_of_quantized_products_keeps_their_integers() {
    let (flux, weights) = flux(1, 3);
    let inputs = random_inputs(&flux, 18);
    let quantized = "canonicalize,quantize(int8dq)";
    let step_by_step = optimize(flux.clone(), quantized).0;
    let at_once = optimize(flux.clone(), &format!("{quantized},hoist,dce")).0;
    assert_ne!(step_by_step.prepares.len(), at_once.prepares.len());
    let (step_by_step, at_once) = (run(&step_by_step, &weights, &inputs), run(&at_once, &weights, &inputs));
    assert_eq!(distance(&at_once, &step_by_step), 0.0);
}

/// Merged products of codes keep every bit; those of numbers may be summed in another order.
#[test]
fn merge_linear_reassociates() {
    let other = other();
    assert_twins("other", &other, "merge-linear", &RandomWeights::new(&other, 6));
    let (flux, weights) = flux(2, 2);
    assert_twins("flux", &flux, "merge-linear", &weights);
    let inputs = random_inputs(&flux, 23);
    for scheme in ["int8dq", "int8dq,rule=f32", "int8wo", "fp8dqrow"] {
        let apart = optimize(flux.clone(), &format!("quantize({scheme})")).0;
        let (merged, report) = optimize(apart.clone(), "merge-linear");
        assert!(report.passes[0].changed);
        let distance = distance(&run(&merged, &weights, &inputs), &run(&apart, &weights, &inputs));
        let tolerance = if scheme.starts_with("int8dq") { 0.0 } else { 1e-5 };
        assert!(distance <= tolerance, "{scheme}: {distance:.3e}");
    }
}

/// Panels are summed in another order than rows, alone and in fused products.
#[test]
fn pack_reassociates() {
    let other = other();
    assert_twins("other", &other, "pack", &RandomWeights::new(&other, 9));
    for batch in [1, 3] {
        let (flux, weights) = flux(batch, 2);
        assert_twins("flux as it is lowered", &flux, "pack", &weights);
        let passes = reflux_passes::LOSSLESS_PACKED.replace("fuse", "fuse(device=cpu)");
        assert_twins("flux", &flux, &passes, &weights);
        let fused = optimize(flux.clone(), &format!("{PREPARED},fuse")).0;
        assert_twins("fused flux", &fused, "pack,dce", &weights);
    }
}

/// Everything before fusing, so that what it can do shows.
const PREPARED: &str = "canonicalize,hoist,canonicalize,merge-linear";

/// Fused ops of f32 programs compute what single ones do, whichever of the equal terms are taken.
#[test]
fn fuse_reassociates() {
    let other = other();
    let (flux, weights) = flux(2, 2);
    for fuse in ["fuse", "fuse(extract=worst)", "fuse(device=cpu)"] {
        assert_twins("other", &other, fuse, &RandomWeights::new(&other, 8));
        let prepared = optimize(flux.clone(), PREPARED).0;
        assert_twins("flux", &prepared, fuse, &weights);
        assert_twins("flux as it is lowered", &flux, fuse, &weights);
    }
}

/// Fusing quantized programs keeps every bit: the integers are the same, and so is all arithmetic around them.
#[test]
fn fuse_of_quantized_programs_is_exact() {
    let (flux, weights) = flux(1, 2);
    let inputs = random_inputs(&flux, 25);
    for quantize in [
        "quantize(int8dq,rule=f32)",
        "quantize(int8dq,exclude=norm+embedding)",
        "quantize(int8dq,skip=[*.attn])",
        "quantize(int8wo)",
        "quantize(fp8dqrow)",
        "quantize(fp8dq)",
        "quantize(int4wo)",
        "quantize-attention(int8)",
        "quantize-attention(int8,common_scale=true)",
        "quantize(int8dq),quantize-attention(fp8)",
    ] {
        let quantized =
            optimize(flux.clone(), &format!("canonicalize,hoist,canonicalize,{quantize},merge-linear")).0;
        let expected = run(&quantized, &weights, &inputs);
        for fuse in ["fuse", "fuse(extract=worst)"] {
            let (fused, report) = optimize(quantized.clone(), fuse);
            assert!(report.passes[0].changed);
            assert_eq!(distance(&run(&fused, &weights, &inputs), &expected), 0.0, "{quantize},{fuse}");
        }
    }
}

/// Every variant of a step is fused: with caches, and with caches of quantized programs.
#[test]
fn fuse_goes_with_caches() {
    let (flux, weights) = flux(1, 6);
    let inputs = random_inputs(&flux, 26);
    for cache in [
        "cache(fora,interval=2)",
        "cache(pab)",
        "cache(fastercache)",
        "cache(fora-paper)",
        "cache(taylorseer,order=2,steps=111011)",
        "cache(magcache,steps=110010)",
        "cache(hicache,steps=111011)",
        "cache(spectrum,steps=111010)",
        "cache(fbcache,threshold=0.5)",
        "cache(teacache)",
    ] {
        for quantize in ["", "quantize(int8dq),"] {
            let before = format!("canonicalize,hoist,canonicalize,{quantize}{cache},merge-linear");
            let (cached, _) = optimize(flux.clone(), &before);
            let (fused, _) = optimize(cached.clone(), "fuse,dce");
            let apart = distance(&run(&fused, &weights, &inputs), &run(&cached, &weights, &inputs));
            let tolerance = if quantize.is_empty() { 1e-5 } else { 0.0 };
            println!("{before}: {apart:.2e}");
            assert!(apart <= tolerance, "{before}: {apart:.3e}");
        }
    }
}

/// Quantizing is lossy by as much as its bits say, and no more: relative distances of results from the unquantized ones.
#[test]
fn quantize_stays_within_its_bits() {
    let other = other();
    let weights = RandomWeights::new(&other, 7);
    // Half a step of 1/127, of 2⁻³ and of 1/15, through two blocks.
    for (scheme, tolerance) in [
        ("int8dq", 2e-2),
        ("int8dq,rule=f32", 2e-2),
        ("int8wo", 1e-2),
        ("fp8dq", 8e-2),
        ("fp8dqrow", 8e-2),
        ("fp8wo", 5e-2),
        ("int4wo", 1.5e-1),
    ] {
        let quantize = format!("quantize({scheme})");
        Twins::new("other", &other, &quantize, &weights).lossy(1e-4..=tolerance).check();
    }
}

/// As much as the scores of two blocks are off, which a softmax of 24 keys makes less.
#[test]
fn quantize_attention_stays_within_its_bits() {
    let other = other();
    let weights = RandomWeights::new(&other, 7);
    for (scheme, tolerance) in [("int8", 5e-3), ("int8,smooth_k=true", 5e-3), ("fp8", 3e-2)] {
        let quantize = format!("quantize-attention({scheme})");
        Twins::new("other", &other, &quantize, &weights).lossy(1e-9..=tolerance).check();
    }
}

#[test]
fn dce_is_exact() {
    let other = other();
    let weights = RandomWeights::new(&other, 5);
    for method in METHODS {
        let (cached, _) = optimize(other.clone(), &format!("hoist,cache({method},steps=11010)"));
        let mut dead = cached;
        let unread = dead.variants.values_mut().next().unwrap();
        let out = unread.find("out").unwrap();
        let mut patch = Patch::new(unread, "test");
        patch.add(Unary::Silu, &[out], &"unread".into(), ModulePath::root()).unwrap();
        patch.apply().unwrap();
        assert_twins(&format!("other with {method}"), &dead, "dce", &weights);
    }
    let (flux, weights) = flux(1, 5);
    let (carried, _) = optimize(flux, "hoist,cache(fora,interval=3)");
    assert_twins("flux with whole streams carried", &carried, "dce", &weights);
}

#[test]
fn tap_is_exact_and_gives_the_values() {
    let other = other();
    let weights = RandomWeights::new(&other, 3);
    let inputs = random_inputs(&other, 19);
    let (tapped, _) = optimize(other.clone(), "tap(y.*)");
    let (plain, tapped) = (run(&other, &weights, &inputs), run(&tapped, &weights, &inputs));
    assert_eq!(distance(&tapped, &plain), 0.0);
    assert_eq!(tapped[0].len(), 3);
    assert_ne!(tapped[0]["y.0"], tapped[0]["y.1"]);
    assert_ne!(tapped[0]["y.1"], tapped[1]["y.1"]);
}

/// A cache that reuses nothing changes nothing; one that does gives the plain results where it computes and others
/// where it does not.
#[test]
fn steps_that_compute_are_exact() {
    for (what, program) in [("other", other()), ("flux", flux(1, 5).0)] {
        let weights: Box<dyn WeightSource> = match what {
            "flux" => Box::new(flux(1, 5).1),
            _ => Box::new(RandomWeights::new(&program, 4)),
        };
        let inputs = random_inputs(&program, 20);
        let plain = run(&program, weights.as_ref(), &inputs);
        for method in METHODS {
            let all_compute = match method.name {
                "magcache" => "ratios=[1],retention_ratio=1",
                "spectrum" => "spacing=1,growth=0",
                "fbcache" | "teacache" => "steps=11111",
                _ => "interval=1",
            };
            let (unchanged, report) =
                optimize(program.clone(), &format!("cache({method},{all_compute},allow_nothing=true)"));
            assert!(!report.passes[0].changed && unchanged == program, "{what}, {method}, all compute");
            let (cached, _) = optimize(program.clone(), &format!("cache({method},steps=11010),dce"));
            let cached = run(&cached, weights.as_ref(), &inputs);
            for (step, computes) in [true, true, false, true, false].into_iter().enumerate() {
                assert_eq!(cached[step] == plain[step], computes, "{what}, {method}, step {step}");
            }
        }
    }
}

/// A Taylor series of order 2 through the values of an input that moves as the square of the step gives its next value.
#[test]
fn forecasts_follow_a_parabola() {
    const MOVING: &str = "
program moving {
  input %x : f32[1,4,2,8] latent
  variant main (%x) -> (%y) {
    %a = attention %x, %x, %x {scale=0.0} : f32[1,4,2,8]
    %y = mul %a, 2.0 : f32[1,4,2,8]
    return %y
  }
  schedule main*5
}";
    let moving = text::parse(MOVING).unwrap();
    let (cached, _) = optimize(moving, "cache(taylorseer,order=2,steps=11100)");
    let mut executor = load(Device::host(), cached.clone(), &RandomWeights::new(&cached, 1)).unwrap();
    for step in 0..5 {
        let value = if step < 3 { (step * step) as f32 } else { f32::NAN };
        executor.bind("x", &HostTensor::from_f32(vec![1, 4, 2, 8], &[value; 64])).unwrap();
        // Differences of backward values: exact for a line; a parabola is missed by k·Δ²/2 = k.
        let expected = 2.0 * [0.0, 1.0, 4.0, 8.0, 14.0][step];
        let found = executor.step(step).unwrap()["y"].to_f32();
        assert!(found.iter().all(|found| (found - expected).abs() < 1e-5), "{step}: {found:?}");
    }
}

/// What a step of FORA reuses is all that it reads of the past: the latents of that step do not matter to it, nor, in a
/// batch, what the other picture is.
#[test]
fn a_reused_step_reads_neither_its_latents_nor_its_neighbour() {
    let (program, weights) = flux(2, 3);
    let (cached, _) = optimize(program.clone(), "canonicalize,hoist,cache(fora,steps=110),dce");
    let step = |change: &dyn Fn(usize, &mut Vec<f32>)| {
        let mut executor = load(Device::host(), cached.clone(), &weights).unwrap();
        for (name, value) in random_inputs(&program, 21) {
            executor.bind(&name, &value).unwrap();
        }
        let latents = program.inputs.iter().find(|input| &*input.name == "latents").unwrap();
        let shape = latents.fact.shape.to_vec();
        let velocities: Vec<Vec<f32>> = (0..3)
            .map(|step| {
                let mut values = TorchGenerator::new(step as u64).randn_f32(latents.fact.shape.elements());
                change(step, &mut values);
                executor.bind("latents", &HostTensor::from_f32(shape.clone(), &values)).unwrap();
                executor.step(step).unwrap()["velocity"].to_f32()
            })
            .collect();
        velocities
    };
    let plain = step(&|_, _| {});
    let changed = |step: usize| {
        move |at: usize, values: &mut Vec<f32>| {
            if at == step {
                values[0] += 1.0
            }
        }
    };
    assert_eq!(step(&changed(2))[2], plain[2], "the latents of a reused step");
    let computed = step(&changed(1));
    assert_ne!(computed[2], plain[2], "the latents of the step that it reuses");
    let second = plain[2].len() / 2;
    assert_eq!(computed[2][second..], plain[2][second..], "the other picture of the batch");
}

/// Two caches at once, FORA outside and PAB within the steps that it leaves: a step that neither reuses is exact.
#[test]
fn caches_compose() {
    let (program, weights) = flux(1, 5);
    let inputs = random_inputs(&program, 22);
    let plain = run(&program, &weights, &inputs);
    let (cached, report) = optimize(program, "cache(fora,steps=11101),cache(pab,steps=1011),dce");
    assert_eq!(
        cached.schedule.iter().map(|name| name.to_string()).collect::<Vec<_>>(),
        ["full", "reuse_2", "full", "reuse", "full"],
        "{report}"
    );
    let cached = run(&cached, &weights, &inputs);
    let exact: Vec<bool> = cached.iter().zip(&plain).map(|(a, b)| a == b).collect();
    assert_eq!(exact, [true, false, true, false, true]);
}
