//! Optimized pipelines against Pruna's, diffusers' and torchao's on the bundled model (`tests/fixtures/README.md`): final
//! latents of all three cases, from prompt and seed alone.

use crate::common::cases::{cases, request};
use crate::common::fixtures::{Fixture, assert_close, emoji, relative_l2, repo};
use reflux::models::{ModelFiles, Parts, read_json};
use reflux::passes::{Method, polynomial_through, registry};
use reflux::{DiffusionPipeline, Event, OpenOptions, Request, calibrate};
use reflux_ir::HostTensor;
use reflux_ir::pass::{Pipeline, Recipe};
use serde_json::Value;

fn pipeline(passes: &str) -> DiffusionPipeline {
    let passes = Recipe::parse(passes, &registry()).unwrap();
    let options = OpenOptions { passes, ..OpenOptions::default() };
    DiffusionPipeline::open_with(emoji(), options).unwrap()
}

/// The final latents of every case, by its number.
fn final_latents(passes: &str) -> Vec<(u64, HostTensor)> {
    let mut pipeline = pipeline(passes);
    let latents = |case: &Value| {
        let (_, report) = pipeline.generate_with(&request(case), &mut |_| {}).unwrap();
        (case["i"].as_u64().unwrap(), report.latents)
    };
    cases().iter().map(latents).collect()
}

/// Which cases a setting is tried on.
enum On {
    All,
    /// Where the method is tried on all with another setting.
    One(usize),
}

/// Runs cases with `passes` and compares with what `fixture` holds for them under `name.{i}`.
fn assert_peer(on: On, passes: &str, fixture: &Fixture, name: &str, tolerance: f64) {
    let plain = Fixture::open("pipeline.safetensors");
    let mut pipeline = pipeline(passes);
    let mut all = cases();
    if let On::One(case) = on {
        all = vec![all.swap_remove(case % all.len())];
    }
    for case in all {
        let (_, report) = pipeline.generate_with(&request(&case), &mut |_| {}).unwrap();
        let i = case["i"].as_u64().unwrap();
        let expected = fixture.get(&format!("{name}.{i}.latents.step19"));
        assert_close(&format!("{passes}, case {i}"), &report.latents, &expected, tolerance);
        // The tolerance means something only if the peer's own error is larger.
        let apart = relative_l2(&expected, &plain.get(&format!("{i}.latents.step19")));
        assert!(apart > 4.0 * tolerance.min(1e-3), "case {i}: the peer is {apart:.1e} from the plain run");
    }
}

/// Runs `METHOD(interval=…)` with intervals of 2 to 4, the first on all cases.
fn assert_intervals(method: &str, fixture: &str, name: impl Fn(usize) -> String) {
    let fixture = Fixture::open(fixture);
    for interval in 2..=4 {
        let on = if interval == 2 { On::All } else { On::One(interval) };
        assert_peer(on, &format!("cache({method},interval={interval})"), &fixture, &name(interval), 1e-5);
    }
}

#[test]
fn fora_is_prunas() {
    assert_intervals("fora", "fora.safetensors", |interval| format!("interval{interval}.start2"));
}

#[test]
fn pab_is_prunas() {
    assert_intervals("pab", "pab.safetensors", |interval| format!("interval{interval}"));
}

#[test]
fn fastercache_is_prunas() {
    assert_intervals("fastercache", "fastercache.safetensors", |interval| format!("interval{interval}"));
}

/// With factors in f32. diffusers rounds them to bf16 by default, which Reflux does not imitate: what that changes is below
/// 1e-3, and the tolerance of those is that.
#[test]
fn taylorseer_is_diffusers() {
    let fixture = Fixture::open("taylorseer_more.safetensors");
    for (index, (order, interval, initial)) in [(2, 3, 3), (1, 3, 3), (2, 4, 4)].into_iter().enumerate() {
        let on = if index == 0 { On::All } else { On::One(index) };
        let passes = format!("cache(taylorseer,order={order},interval={interval},initial_steps={initial})");
        assert_peer(on, &passes, &fixture, &format!("order{order}.interval{interval}.f32"), 1e-5);
    }
    assert_peer(On::One(0), "cache(taylorseer,order=2,interval=3)", &fixture, "order2.interval3.bf16", 1e-3);
    let fixture = Fixture::open("taylorseer.safetensors");
    for interval in [3, 5] {
        assert_peer(
            On::One(interval),
            &format!("cache(taylorseer,interval={interval})"),
            &fixture,
            &format!("interval{interval}"),
            1e-3,
        );
    }
}

/// In the steps that diffusers computed; `tests/cache.rs` has that these are the steps that the ratios choose.
#[test]
fn magcache_is_diffusers() {
    let fixture = Fixture::open("magcache.safetensors");
    let facts: Value = read_json(&repo("tests/fixtures/magcache.json")).unwrap();
    for (name, setting) in facts["settings"].as_object().unwrap() {
        let steps = setting["num_inference_steps"].as_u64().unwrap() as usize;
        let computed = facts["computed"][name][0].as_array().unwrap();
        let mask: String =
            (0..steps).map(|step| if computed.contains(&step.into()) { '1' } else { '0' }).collect();
        let mut pipeline = pipeline(&format!("cache(magcache,steps={mask})"));
        for case in cases() {
            let (_, report) = pipeline.generate_with(&request(&case).steps(steps), &mut |_| {}).unwrap();
            let key = format!("{name}.{}.latents.step{}", case["i"], steps - 1);
            assert_close(&format!("magcache {key}"), &report.latents, &fixture.get(&key), 1e-5);
        }
    }
}

/// Final latents, and the steps that computed, with `passes` on all cases.
fn latents_and_computed(passes: &str) -> Vec<(HostTensor, Vec<usize>)> {
    let mut pipeline = pipeline(passes);
    let of_case = |case: &Value| {
        let mut computed = Vec::new();
        let mut watch = |event: Event| {
            if let Event::Results { step, variant, .. } = event
                && **variant != *"reuse"
            {
                computed.push(step);
            }
        };
        let (_, report) = pipeline.generate_with(&request(case), &mut watch).unwrap();
        (report.latents, computed)
    };
    cases().iter().map(of_case).collect()
}

/// Compares the results of a method that decides in each step, and which steps compute, with what is recorded under `key`.
fn assert_decides(passes: &str, fixture: &Fixture, recorded: &Value, key: &str) {
    for (i, (latents, computed)) in latents_and_computed(passes).into_iter().enumerate() {
        let expected = recorded["computed"][key][i].as_array().unwrap();
        let expected: Vec<_> = expected.iter().map(|step| step.as_u64().unwrap() as usize).collect();
        assert_eq!(computed, expected, "{passes}, case {i}");
        let expected = fixture.get(&format!("{key}.{i}.latents.step19"));
        assert_close(&format!("{passes}, case {i}"), &latents, &expected, 1e-5);
    }
}

/// In exactly the steps that diffusers computed.
#[test]
fn fbcache_is_diffusers() {
    let fixture = Fixture::open("fbcache.safetensors");
    let recorded: Value = read_json(&repo("tests/fixtures/fbcache.json")).unwrap();
    for threshold in ["0.05", "0.2"] {
        let passes = format!("cache(fbcache,threshold={threshold})");
        assert_decides(&passes, &fixture, &recorded, &format!("threshold{threshold}"));
    }
}

/// In exactly the steps that the published rule computes.
#[test]
fn teacache_is_its_authors() {
    let fixture = Fixture::open("teacache.safetensors");
    let recorded: Value = read_json(&repo("tests/fixtures/teacache.json")).unwrap();
    for (key, setting) in recorded["settings"].as_object().unwrap() {
        let polynomial = &recorded["polynomials"][setting["polynomial"].as_str().unwrap()];
        let passes = format!("cache(teacache,threshold={},coefficients={polynomial})", setting["threshold"]);
        assert_decides(&passes, &fixture, &recorded, key);
    }
}

/// Programs whose weights are codes, and which are merged, hoisted and fused, decide too: some steps reuse, and the pictures stay
/// near. They need not decide alike, as what is rounded away can be more than a decision's margin.
#[test]
fn quantized_programs_decide_too() {
    let plain = latents_and_computed("cache(fbcache,threshold=0.2)");
    let quantized = latents_and_computed("quantize(int8wo),cache(fbcache,threshold=0.2)");
    for ((plain, _), (quantized, of_codes)) in plain.iter().zip(&quantized) {
        let apart = relative_l2(quantized, plain);
        assert!((2..20).contains(&of_codes.len()), "{of_codes:?}");
        assert!((1e-5..0.2).contains(&apart), "{apart:e}");
    }
}

/// `calibrate` measures what diffusers and TeaCache's authors do.
#[test]
fn calibration_is_theirs() {
    let calibrated = |method: &str, prompts: &[Value], seed: u64| {
        let prompts = prompts.iter().map(|case| case["prompt"].as_str().unwrap().to_owned()).collect();
        let request = Request { prompts, seed, ..request(&cases()[0]) };
        let files = ModelFiles::find(&emoji(), Parts::default()).unwrap();
        let method = Method::named(method).unwrap();
        calibrate(files, OpenOptions::default(), &method, &request, &mut |_| {}).unwrap()
    };
    let cases = cases();
    let seed = cases[0]["seed"].as_u64().unwrap();
    let measured = calibrated("magcache", &cases[..1], seed);
    let recorded: Value = read_json(&repo("tests/fixtures/magcache.json")).unwrap();
    for (step, (found, expected)) in
        measured.values["ratios"].iter().zip(recorded["ratios"].as_array().unwrap()).enumerate()
    {
        let apart = (found - expected.as_f64().unwrap()).abs();
        assert!(apart < 1e-5, "step {step}: {found} {expected}");
    }
    assert_eq!((measured.steps, measured.values["ratios"].len()), (20, 20));
    // The recorded polynomial, of six digits, is that of the recorded samples.
    let recorded: Value = read_json(&repo("tests/fixtures/teacache.json")).unwrap();
    let numbers =
        |list: &Value| list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let samples: Vec<[f64; 2]> = recorded["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| numbers(sample).try_into().unwrap())
        .collect();
    let fitted = polynomial_through(&samples).unwrap();
    for (found, expected) in fitted.iter().zip(numbers(&recorded["polynomials"]["fitted"])) {
        assert!((found - expected).abs() < 1e-4 * expected.abs(), "{found} {expected}");
    }
    // Those of the first case are measured again.
    let measured = calibrated("teacache", &cases[..1], seed);
    let expected = polynomial_through(&samples[..19]).unwrap();
    for x in [0.03, 0.05, 0.1, 0.25] {
        let at =
            |polynomial: &[f64]| polynomial.iter().fold(0.0, |value, coefficient| value * x + coefficient);
        let (found, expected) = (at(&measured.values["coefficients"]), at(&expected));
        assert!((found - expected).abs() < 1e-3 * expected.abs(), "at {x}: {found} {expected}");
    }
}

/// One flipped rounding is amplified by the chain of steps: two runs of torchao's own rule end 1.7e-2 apart, the plain run
/// 2.1e-2. Of three pictures the worst still tells them apart; codes and single linears are compared in
/// `tests/quantized.rs`.
#[test]
fn int8dq_is_torchaos() {
    let (fixture, plain) = (Fixture::open("int8dq.safetensors"), Fixture::open("pipeline.safetensors"));
    for (preset, tolerance) in [("none", 1.8e-2), ("norm+embedding", 1.6e-2)] {
        let (mut apart, mut unquantized) = (0f64, 0f64);
        for (i, latents) in final_latents(&format!("quantize(int8dq,exclude={preset})")) {
            let name = format!("{i}.latents.step19");
            let expected = fixture.get(&format!("{preset}.{name}"));
            apart = apart.max(relative_l2(&latents, &expected));
            unquantized = unquantized.max(relative_l2(&plain.get(&name), &expected));
        }
        println!("{preset}: {apart:.2e} (at most {tolerance:.1e}; the plain run is {unquantized:.2e} away)");
        assert!(apart <= tolerance && tolerance < unquantized, "{preset}: {apart:.3e} of {unquantized:.3e}");
    }
}

/// The modules that are quantized are those that torchao quantizes under Pruna's filter.
#[test]
fn presets_are_prunas() {
    let fixture: Value = read_json(&repo("tests/fixtures/int8dq.json")).unwrap();
    for preset in ["none", "norm+embedding"] {
        let config = reflux::models::ModelConfig::read(&emoji()).unwrap();
        let sizes = reflux::models::Sizes {
            batch: 1,
            steps: 1,
            text_tokens: 32,
            height: 128,
            width: 128,
            reference: None,
        };
        let program =
            config.lower(&reflux::models::flux1::TRANSFORMER, &sizes, reflux_ir::DType::F32).unwrap();
        let passes = Pipeline::parse(&format!("quantize(int8dq,exclude={preset})"), &registry()).unwrap();
        let (program, _) = reflux_ir::pass::Driver::default().run(program, &passes).unwrap();
        let graph = &program.variants["full"];
        let products = graph.order().into_iter().filter(|&id| graph[id].op.name() == "matmul_i8");
        let mut quantized: Vec<String> = products.map(|id| graph[id].path.to_string()).collect();
        let mut expected: Vec<String> = fixture["quantized"][preset]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().into())
            .collect();
        quantized.sort();
        expected.sort();
        assert_eq!(quantized, expected, "{preset}");
    }
}

/// What one image carries does not reach the next, and sizes and step counts may change in between.
#[test]
fn nothing_leaks_from_one_image_to_the_next() {
    let passes = "cache(fora,interval=3),cache(fastercache,interval=2)";
    let first = Request::new("grinning face").steps(7).size(64, 32);
    let between = Request::new("large owl on a pink background").steps(9).size(48, 80);
    let latents = |pipeline: &mut DiffusionPipeline, request: &Request| {
        pipeline.generate_with(request, &mut |_| {}).unwrap().1.latents
    };
    let mut used = pipeline(passes);
    let alone = latents(&mut used, &first);
    latents(&mut used, &first.clone().seed(5));
    assert_eq!(latents(&mut used, &first), alone, "after another picture of that size");
    latents(&mut used, &between);
    assert_eq!(latents(&mut used, &first), alone, "after a picture of another size");
}

/// True CFG computes twice a step. The two share a batch, each with a state of its own: with no negative prompt to differ
/// by, both are the same, and guidance changes nothing.
#[test]
fn true_cfg_keeps_two_states() {
    for passes in ["cache(fora,interval=2)", "cache(pab,interval=3)", "cache(fastercache)"] {
        let mut pipeline = pipeline(passes);
        let mut latents = |request: Request| pipeline.generate_with(&request, &mut |_| {}).unwrap().1.latents;
        let request = Request::new("a red apple on a blue background").steps(6).size(48, 32);
        let plain = latents(request.clone());
        let guided = |negative: &str, scale: f32| Request {
            negative_prompt: Some(negative.into()),
            true_cfg_scale: Some(scale),
            ..request.clone()
        };
        let same = latents(guided("a red apple on a blue background", 4.0));
        assert_close(&format!("{passes}, a prompt against itself"), &same, &plain, 1e-5);
        let other = latents(guided("a small rocket on a yellow background", 4.0));
        assert!(relative_l2(&other, &plain) > 1e-2, "{passes}: the negative prompt has no effect");
    }
}
