//! Programs on several devices, which the processor runs in lockstep: the same numbers as on one.

use crate::common::fixtures::{emoji, relative_l2};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Fact, HostTensor, Name, Program, WeightData, WeightError, WeightSource, text};
use reflux_models::noise::TorchGenerator;
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{ModelConfig, Sizes, flux1};
use reflux_passes::{METHODS, registry};
use reflux_runtime::{Device, RunError, load, load_shared, load_streaming, random_inputs, run_steps};
use std::collections::HashMap;
use std::sync::Arc;

type Results = Vec<HashMap<Name, HostTensor>>;

fn optimized(program: &Program, passes: &str) -> Program {
    let pipeline = Pipeline::parse(passes, &registry()).unwrap();
    let times: Vec<f32> = (0..program.schedule.len()).map(|step| 1000.0 - 60.0 * step as f32).collect();
    let mut driver = Driver { timesteps: Some(&times), ..Driver::default() };
    let (program, _) =
        driver.run(program.clone(), &pipeline).unwrap_or_else(|error| panic!("{passes}: {error}"));
    assert_eq!(text::parse(&program.to_string()).unwrap(), program, "{passes}");
    program
}

fn inputs(program: &Program) -> Vec<(String, HostTensor)> {
    let mut generator = TorchGenerator::new(7);
    random_inputs(program, &[], &mut |count| generator.randn_f32(count))
}

fn results(program: Program, weights: &Arc<dyn WeightSource>) -> Results {
    let inputs = inputs(&program);
    let mut executor = load_shared(Device::host(), program, weights.clone()).unwrap();
    run_steps(executor.as_mut(), &inputs).unwrap()
}

/// The largest relative distance between results.
fn distance(a: &Results, b: &Results) -> f64 {
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.iter().map(|(name, a)| (a, &b[name])));
    pairs.map(|(a, b)| if a.bytes == b.bytes { 0.0 } else { relative_l2(a, b) }).fold(0.0, f64::max)
}

/// Asserts that `passes` and then shard give on each of these numbers of devices what `passes` give on one.
fn assert_same(program: &Program, passes: &str, devices: &[usize], weights: &Arc<dyn WeightSource>) {
    let expected = results(optimized(program, passes), weights);
    for count in devices {
        let after = [passes, &format!("shard({count})"), "merge-linear,fuse,dce"];
        let after: Vec<_> = after.into_iter().filter(|text| !text.is_empty()).collect();
        let distance = distance(&expected, &results(optimized(program, &after.join(",")), weights));
        // Products of other numbers of rows may be summed in another order.
        assert!(distance < 1e-5, "{passes} on {count} devices: {distance}");
    }
}

/// The transformer of the bundled model, with as many text tokens and steps.
fn transformer(text_tokens: usize, side: usize, steps: usize) -> (Program, Arc<dyn WeightSource>) {
    let config = ModelConfig::read(&emoji()).unwrap();
    let sizes = Sizes { batch: 1, steps, text_tokens, height: side, width: side, reference: None };
    let weights = Weights::open(emoji().join("transformer")).unwrap();
    (config.lower(&flux1::TRANSFORMER, &sizes, DType::F32).unwrap(), Arc::new(weights))
}

#[test]
fn the_bundled_model_is_the_same_on_two_to_four_devices() {
    let (program, weights) = transformer(32, 64, 2);
    assert_same(&program, "", &[2, 3, 4], &weights);
    assert_same(&program, "canonicalize,hoist,canonicalize", &[2, 3, 4], &weights);
    // Neither tokens nor heads can be divided equally.
    let (odd, weights) = transformer(29, 48, 1);
    assert_same(&odd, "canonicalize,hoist", &[2, 3, 5], &weights);
}

#[test]
fn several_pictures_are_the_same() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let sizes = Sizes { batch: 2, steps: 1, text_tokens: 16, height: 48, width: 64, reference: None };
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::F32).unwrap();
    let weights: Arc<dyn WeightSource> = Arc::new(Weights::open(emoji().join("transformer")).unwrap());
    assert_same(&program, "canonicalize,hoist", &[2, 3], &weights);
}

#[test]
fn attention_over_codes_is_the_same() {
    let (program, weights) = transformer(16, 64, 1);
    for scheme in ["int8", "fp8", "int8,common_scale=true", "int8,smooth_k=true"] {
        assert_same(&program, &format!("canonicalize,hoist,quantize-attention({scheme})"), &[2, 3], &weights);
    }
}

#[test]
fn quantized_products_are_the_same() {
    let (program, weights) = transformer(16, 64, 1);
    for scheme in ["int8dq", "int8wo", "fp8dqrow", "int4wo", "fp8dq"] {
        assert_same(&program, &format!("quantize({scheme})"), &[2], &weights);
    }
}

/// Whatever is carried from step to step, and however probes choose.
#[test]
fn every_cache_is_the_same() {
    let (program, weights) = transformer(16, 32, 6);
    for method in METHODS {
        let options = match method.name {
            "magcache" => ",ratios=[1.0,1.01,1.0,0.99,1.0,1.0]",
            _ => "",
        };
        assert_same(&program, &format!("canonicalize,hoist,cache({}{options})", method.name), &[2], &weights);
    }
}

/// What a text says is run as it is, codes with their scales too.
#[test]
fn ops_of_several_devices_do_as_they_say() {
    let source = "program p {
      input %x : f32[2,5,4] latent
      variant main (%x) -> (%whole, %turned, %codes, %floats, %back) {
        %own = shard %x {devices=3, axis=-2} : f32[2,2,4]
        %whole = all_gather %own {devices=3, axis=1, parts=[5]} : f32[2,5,4]
        %exchanged = all_to_all %own {devices=3, split=2, concat=1, concat_parts=[5]} : f32[2,5,2]
        %turned = all_gather %exchanged {devices=3, axis=2, parts=[4]} : f32[2,5,4]
        %q = quantize %own {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,2,4]
        %all = all_gather %q {devices=3, axis=1, parts=[5]} : i8.row.f32[2,5,4]
        %codes = dequantize %all {dtype=f32} : f32[2,5,4]
        %f = quantize %own {dtype=f8e4m3, scales=row.bf16, eps=1e-5} : f8e4m3.row.bf16[2,2,4]
        %turned_f = all_gather %f {devices=3, axis=1, parts=[5]} : f8e4m3.row.bf16[2,5,4]
        %floats = dequantize %turned_f {dtype=f32} : f32[2,5,4]
        %parts = shard %x {devices=3, axis=1, parts=[2, 3]} : f32[2,2,4]
        %back = all_gather %parts {devices=3, axis=1, parts=[2, 3]} : f32[2,5,4]
        return %whole, %turned, %codes, %floats, %back
      }
      schedule main
    }";
    let program = text::parse(source).unwrap();
    let weights: Arc<dyn WeightSource> = Arc::new(RandomWeights::new(&program, 0));
    let given = inputs(&program);
    let made = results(program, &weights).remove(0);
    for name in ["whole", "turned", "back"] {
        assert_eq!(made[name], given[0].1, "{name}");
    }
    assert!(relative_l2(&made["codes"], &given[0].1) < 0.02);
    assert!(relative_l2(&made["floats"], &given[0].1) < 0.06);
}

const TWO: &str = "program p {
  input %x : f32[4,2] latent
  input %p : f32[2] prompt
  prepare prompt (%p) -> (%t) {
    %t = mul @w f32[2], %p : f32[2]
    return %t
  }
  variant main (%x, %t) -> (%y) {
    %own = shard %x {devices=2, axis=0} : f32[2,2]
    %sum = add %own, %t : f32[2,2]
    %y = all_gather %sum {devices=2, axis=0} : f32[4,2]
    return %y
  }
  schedule main
}";

/// Weights that rank 1 cannot read.
struct Broken;

impl WeightSource for Broken {
    fn weight(&self, name: &str, _: &Fact) -> Result<WeightData, WeightError> {
        match std::thread::current().name() {
            Some("rank 1") => Err(WeightError::Missing(name.to_owned())),
            _ => Ok(HostTensor::from_f32([2], &[1.0, 2.0]).into()),
        }
    }
}

/// Nobody waits for a rank that has failed, and the error is its own.
#[test]
fn a_rank_that_fails_ends_the_run() {
    let program = text::parse(TWO).unwrap();
    let failed = load_shared(Device::host(), program.clone(), Arc::new(Broken)).map(drop).unwrap_err();
    assert_eq!(failed.to_string(), "on device 1: the weights hold no tensor `w`");
    // In a step, where the other one waits.
    let mut executor = load_streaming(Device::host(), program.clone(), Arc::new(Broken)).unwrap();
    for (name, value) in inputs(&program) {
        executor.bind(&name, &value).unwrap();
    }
    for _ in 0..2 {
        let error = executor.step(0).unwrap_err();
        assert!(matches!(error, RunError::Rank { rank: 1, .. } | RunError::Abandoned), "{error}");
    }
}

#[test]
fn what_is_bound_wrongly_is_said_once() {
    let program = text::parse(TWO).unwrap();
    let weights: Arc<dyn WeightSource> = Arc::new(RandomWeights::new(&program, 0));
    let mut executor = load_shared(Device::host(), program.clone(), weights).unwrap();
    let wrong = executor.bind("z", &HostTensor::from_f32([2], &[0.0; 2])).unwrap_err();
    assert_eq!(wrong.to_string(), "the program has no input `%z`; it has `%x`, `%p`");
    // It runs on.
    for (name, value) in inputs(&program) {
        executor.bind(&name, &value).unwrap();
    }
    assert!(executor.step(0).is_ok());
    let error = load(Device::host(), program, &RandomWeights::new(&text::parse(TWO).unwrap(), 0))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("leave out the pass `shard`"), "{error}");
}
