//! Programs with probes that run: what is chosen, what that gives, and what is said where nothing can be chosen.

#[allow(dead_code, reason = "probes need no fixtures")]
use crate::common::fixtures::{assert_close, emoji, relative_l2};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{Fact, HostTensor, Name, Program, Stage, WeightData, WeightSource, text};
use reflux_models::noise::TorchGenerator;
use reflux_models::weights::RandomWeights;
use reflux_passes::registry;
use reflux_runtime::{Device, Execute, Profile, RunError, StepResults, load, random_inputs, run_steps};

const EXAMPLE: &str = include_str!("../examples/first_block_cache.ir");
const SEED: u64 = 3;

/// What changes no result, and does not need that every step runs the same graph.
const LOSSLESS: &str = "canonicalize,merge-linear,fuse,dce";

fn example() -> Program {
    text::parse(EXAMPLE).unwrap()
}

fn inputs() -> Vec<(String, HostTensor)> {
    let mut generator = TorchGenerator::new(SEED);
    random_inputs(&example(), &[], &mut |count| generator.randn_f32(count))
}

fn loaded(program: &Program) -> Box<dyn Execute> {
    load(Device::host(), program.clone(), &RandomWeights::new(&example(), SEED)).unwrap()
}

fn results(program: &Program) -> (StepResults, Profile) {
    let mut executor = loaded(program);
    executor.set_profiling(true);
    let results = run_steps(executor.as_mut(), &inputs()).unwrap();
    (results, executor.profile().unwrap().clone())
}

/// The example with every step computed, and what it keeps as results.
fn computed() -> StepResults {
    let text = EXAMPLE.replace("schedule first gate*7", "schedule first*8");
    let start = text.find("  probe gate").unwrap();
    let end = text.find("  schedule").unwrap();
    let carries = |line: &&str| !line.starts_with("  carry");
    let text = format!("{}{}", &text[..start], &text[end..]);
    results(&text::parse(&text.lines().filter(carries).collect::<Vec<_>>().join("\n")).unwrap()).0
}

/// By the rule of First-Block-Cache, worked out from what every step adds in its first block: for each step, the last one that
/// computes everything.
fn computing_steps(plain: &StepResults) -> Vec<usize> {
    let added = |step: usize| &plain[step]["added_last"];
    let mut last = 0;
    let by_step = (0..plain.len()).map(|step| {
        if relative_l2(added(step), added(last)) > 0.1 {
            last = step;
        }
        last
    });
    by_step.collect()
}

/// `a · wᵀ` of the weight `tensor`, in f64.
fn product(a: &[f32], tensor: &str) -> HostTensor {
    let weights = RandomWeights::new(&example(), SEED);
    let WeightData::Dense(weight) =
        weights.weight(tensor, &Fact::new(reflux_ir::DType::F32, [32, 32])).unwrap()
    else {
        panic!("it is dense")
    };
    let weight = weight.to_f32();
    let dot = |row: &[f32], column: &[f32]| {
        row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let rows = a.chunks(32).flat_map(|row| weight.chunks(32).map(move |column| dot(row, column) as f32));
    HostTensor::from_f32([1, 24, 32], &rows.collect::<Vec<_>>())
}

/// Steps that compute everything give what they would without a probe; the others give what the first block makes of them,
/// and what the others added in the last step that computed everything.
#[test]
fn steps_run_what_is_chosen() {
    let (found, plain) = (results(&example()).0, computed());
    let last = computing_steps(&plain);
    let computing = last.iter().enumerate().filter(|(step, last)| step == *last).count();
    println!("the last step that computed everything, by step: {last:?}");
    assert!(computing > 1 && computing < last.len() - 1, "the example shows both: {last:?}");
    let x = inputs()[0].1.to_f32();
    for (step, &last) in last.iter().enumerate() {
        if step == last {
            assert_close(&format!("step {step}"), &found[step]["out"], &plain[step]["out"], 1e-6);
            continue;
        }
        let scale = 1.0 + 0.02 * (step * step) as f32;
        let (added, rest) = (plain[step]["added_last"].to_f32(), plain[last]["rest"].to_f32());
        let sums = x.iter().zip(&added).zip(&rest).map(|((x, added), rest)| x * scale + added + rest);
        let expected = product(&sums.collect::<Vec<_>>(), "head.weight");
        assert_close(&format!("step {step}"), &found[step]["out"], &expected, 1e-5);
        let away = relative_l2(&found[step]["out"], &plain[step]["out"]);
        assert!(away > 1e-4, "step {step} reuses, so it cannot give what it would compute: {away:e}");
    }
}

/// How often `variant` has made its value `name`.
fn calls(profile: &Profile, variant: &str, name: &str) -> u64 {
    let stage = Stage::Variant(variant.into());
    let entries = profile.entries().into_iter().filter(|entry| entry.stage == stage && *entry.name == *name);
    entries.map(|entry| entry.calls).sum()
}

/// What is measured is what has run: the probe at every step that has it, its choices as often as they were chosen.
#[test]
fn what_is_not_chosen_does_not_run() {
    let (_, profile) = results(&example());
    let last = computing_steps(&computed());
    let full = last.iter().enumerate().skip(1).filter(|(step, last)| step == *last).count() as u64;
    let calls = |variant: &str, name: &str| calls(&profile, variant, name);
    assert_eq!([calls("first", "out"), calls("gate", "choice")], [1, 7]);
    assert_eq!([calls("full", "out"), calls("reuse", "out")], [full, 7 - full]);
}

/// A second picture does not see what the first one left.
#[test]
fn what_is_kept_is_forgotten() {
    let mut executor = loaded(&example());
    let first = run_steps(executor.as_mut(), &inputs()).unwrap();
    executor.reset();
    let second = run_steps(executor.as_mut(), &inputs()).unwrap();
    assert_eq!(first, second);
}

#[test]
fn passes_keep_what_is_chosen_and_given() {
    for (dtype, tolerance) in [("f32", 1e-5), ("bf16", 2e-2)] {
        let written = text::parse(&EXAMPLE.replace("f32", dtype)).unwrap();
        let before = results(&written).0;
        for passes in [LOSSLESS, "canonicalize,merge-linear,fuse(device=cpu),pack,dce"] {
            let pipeline = Pipeline::parse(passes, &registry()).unwrap();
            let (program, report) = Driver::default().run(written.clone(), &pipeline).unwrap();
            assert!(
                report.passes.iter().any(|pass| pass.pass.starts_with("fuse") && pass.changed),
                "{report}"
            );
            let after = results(&program).0;
            for (step, (after, before)) in after.iter().zip(&before).enumerate() {
                let what = format!("{dtype} after {passes}, step {step}");
                assert_close(&what, &after["out"], &before["out"], tolerance);
            }
        }
    }
}

#[test]
fn what_cannot_be_chosen_is_said() {
    for (index, said) in [(2, "2"), (-1, "-1")] {
        let wrong = format!("%choice = cast {index}.0 f32 {{dtype=i32}} : i32[]");
        let program = EXAMPLE.replace("%choice = reshape %index {shape=[]} : i32[]", &wrong);
        let mut executor = loaded(&text::parse(&program).unwrap());
        let error = run_steps(executor.as_mut(), &inputs()).unwrap_err();
        assert!(matches!(error, RunError::NoSuchChoice { step: 1, .. }), "{error}");
        let expected = format!(
            "step 1: the probe `gate` chooses {said}, which is not one of its choices (0 for `full`, 1 for `reuse`): check \
             the ops that compute its `%choice`"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// On every device that is there, the same variants are chosen as on the processor, and the results are those.
#[test]
fn devices_agree() {
    let devices = || Device::all().filter(|device| !device.is_host() && device.probe().is_ok());
    for (dtype, tolerance) in [("f32", 1e-4), ("bf16", 2e-2)] {
        let written = text::parse(&EXAMPLE.replace("f32", dtype)).unwrap();
        let (expected, measured) = results(&written);
        for (device, passes) in devices().flat_map(|device| ["dce", LOSSLESS].map(|passes| (device, passes)))
        {
            let pipeline = Pipeline::parse(passes, &registry()).unwrap();
            let (program, _) = Driver::default().run(written.clone(), &pipeline).unwrap();
            let mut executor = load(device, program, &RandomWeights::new(&written, SEED)).unwrap();
            println!("{} after {passes}, on burn's kernels: {:?}", device.name(), executor.fallbacks());
            // What was recorded of a step in the first rounds is replayed in the others.
            for round in 0..4 {
                executor.reset();
                let found = run_steps(executor.as_mut(), &inputs()).unwrap();
                for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let what =
                        format!("{dtype} after {passes} on {}, round {round}, step {step}", device.name());
                    assert_close(&what, &found["out"], &expected["out"], tolerance);
                }
            }
            executor.reset();
            executor.set_profiling(true);
            run_steps(executor.as_mut(), &inputs()).unwrap();
            let chosen = |profile: &Profile| ["full", "reuse"].map(|variant| calls(profile, variant, "out"));
            assert_eq!(chosen(executor.profile().unwrap()), chosen(&measured), "{dtype} after {passes}");
        }
    }
}

/// The CUDA engine has plans for a probe and its choices; of what is in bf16, all but the sums of squares and the cast to an
/// integer are its own kernels.
#[test]
#[cfg(feature = "cuda")]
fn the_engine_plans_probes() {
    use reflux_runtime::backend::cuda::{Gpu, plan};
    let pipeline = Pipeline::parse(LOSSLESS, &registry()).unwrap();
    let written = text::parse(&EXAMPLE.replace("f32", "bf16")).unwrap();
    let (program, _) = Driver::default().run(written, &pipeline).unwrap();
    for (name, graph) in &program.variants {
        let planned = plan(graph, Gpu { capability: (9, 0), processors: 132, rank: 0 });
        let foreign: Vec<_> = planned.foreign().map(|op| op.name.to_string()).collect();
        let sums: &[&str] = if program.is_probe(name) { &["changed", "last", "index"] } else { &[] };
        assert_eq!(foreign, sums, "{name}");
    }
}

/// Of the caches that decide in each step, the engine runs all but the cast of the choice in kernels of its own.
#[test]
#[cfg(feature = "cuda")]
fn the_engine_plans_caches_that_decide() {
    use reflux_models::{ModelConfig, Sizes, flux1};
    use reflux_runtime::backend::cuda::{Gpu, plan};
    let sizes = Sizes { batch: 1, steps: 8, text_tokens: 32, height: 128, width: 128, reference: None };
    let lowered = ModelConfig::read(&emoji()).unwrap();
    let lowered = lowered.lower(&flux1::TRANSFORMER, &sizes, reflux_ir::DType::BF16).unwrap();
    for cache in ["cache(fbcache)", "cache(teacache)"] {
        let passes = format!("canonicalize,hoist,canonicalize,{cache},merge-linear,fuse,dce");
        let pipeline = Pipeline::parse(&passes, &registry()).unwrap();
        let (program, _) = Driver::default().run(lowered.clone(), &pipeline).unwrap();
        assert_eq!(program.probes.len(), 1);
        for (name, graph) in &program.variants {
            let planned = plan(graph, Gpu { capability: (9, 0), processors: 132, rank: 0 });
            let foreign: Vec<_> = planned.foreign().map(|op| op.name.to_string()).collect();
            let choice: &[&str] = if program.is_probe(name) { &["choice"] } else { &[] };
            assert_eq!(foreign, choice, "{cache}: {name}");
        }
    }
}

/// Names of the results, so that a typing error in one is found.
#[test]
fn steps_give_results_and_no_choice() {
    for step in results(&example()).0 {
        assert_eq!(step.into_keys().collect::<Vec<_>>(), [Name::from("out")]);
    }
}
