//! Every ordered pair of passes: the numbers that both promise, or a refusal that says what to do. There is nothing else.

#[allow(dead_code, reason = "pairs need no fixtures")]
use crate::common::fixtures::{emoji, relative_l2};
use reflux_ir::pass::{Driver, DriverError, Exactness, Pipeline};
use reflux_ir::{DType, HostTensor, Name, Program};
use reflux_models::noise::TorchGenerator;
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, Sizes, flux1};
use reflux_passes::{PASSES, registry};
use reflux_runtime::{Device, load_shared};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// What a pair may lose more than its lossy passes do alone, as codes are rounded another way: relative L2.
const LOSSY: f64 = 0.2;

type Results = Vec<HashMap<Name, HostTensor>>;

/// The bundled transformer on small pictures, with the times of its steps.
struct Subject {
    program: Program,
    weights: Arc<Weights>,
    inputs: Vec<(String, HostTensor)>,
}

impl Subject {
    fn new() -> Self {
        let sizes = Sizes { batch: 1, steps: 6, text_tokens: 12, height: 32, width: 32, reference: None };
        let config = ModelConfig::read(&emoji()).unwrap();
        let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::F32).unwrap();
        let mut generator = TorchGenerator::new(31);
        let floats = program.inputs.iter().filter(|input| input.fact.dtype.is_float());
        let noise = |input: &reflux_ir::Declaration| {
            let numbers = generator.randn_f32(input.fact.shape.elements());
            (input.name.to_string(), HostTensor::from_f32(input.fact.shape.to_vec(), &numbers))
        };
        let inputs = floats.map(noise).collect();
        let weights = Arc::new(Weights::open(emoji().join(flux1::TRANSFORMER.folder)).unwrap());
        Self { program, weights, inputs }
    }

    fn optimize(&self, passes: &str) -> Result<Program, DriverError> {
        let times: Vec<f32> = (0..6).map(|step| 940.0 - 150.0 * step as f32).collect();
        let mut driver = Driver { timesteps: Some(&times), ..Driver::default() };
        driver.run(self.program.clone(), &parse(passes)).map(|(program, _)| program)
    }

    fn run(&self, program: &Program) -> Results {
        let mut executor = load_shared(Device::host(), program.clone(), self.weights.clone()).unwrap();
        self.inputs.iter().for_each(|(name, value)| executor.bind(name, value).unwrap());
        (0..program.schedule.len()).map(|step| executor.step(step).unwrap()).collect()
    }
}

fn parse(passes: &str) -> Pipeline {
    Pipeline::parse(passes, &registry()).unwrap()
}

/// The largest relative distance between velocities of the same step.
fn distance(a: &Results, b: &Results) -> f64 {
    let pairs = a.iter().zip(b).map(|(a, b)| (&a["velocity"], &b["velocity"]));
    pairs.map(|(a, b)| if a.bytes == b.bytes { 0.0 } else { relative_l2(a, b) }).fold(0.0, f64::max)
}

/// Bytes of all weights of the checkpoint as the program reads them: less, if they are quantized.
fn weight_bytes(program: &Program) -> u64 {
    program.weights().values().map(|fact| fact.bytes()).sum()
}

/// What a refusal has to name.
const FIXES: [&str; 5] = ["put `", "run `", "remove ", "allow_nothing=true", "name the steps that compute"];

#[test]
fn every_pair_of_passes_works_or_is_refused() {
    let subject = Subject::new();
    let plain = subject.run(&subject.program);
    let more = [
        "cache(pab)",
        "cache(fastercache)",
        "cache(fbcache,threshold=0.2)",
        "cache(teacache)",
        "quantize(int8wo)",
        "quantize(int4wo)",
    ];
    let examples = PASSES.iter().map(|pass| if pass.name == "tap" { "tap(img.*)" } else { pass.example });
    let all: Vec<&str> = examples.chain(more).collect();
    let alone: HashMap<&str, (Results, Program)> = all
        .iter()
        .map(|&passes| {
            let program = subject.optimize(passes).unwrap();
            (passes, (subject.run(&program), program))
        })
        .collect();
    let lost = |passes: &str| distance(&alone[passes].0, &plain);
    let is_quantized = |passes: &str| passes.starts_with("quantize(");
    let makes_codes = |passes: &str| passes.starts_with("quantize");
    let mut table = String::new();
    for first in &all {
        for second in &all {
            let pair = format!("{first},{second}");
            let program = match subject.optimize(&pair) {
                Ok(program) => program,
                Err(error @ (DriverError::Order(_) | DriverError::Refused { .. })) => {
                    let error = error.to_string();
                    assert!(FIXES.iter().any(|fix| error.contains(fix)), "{pair}: no fix in: {error}");
                    writeln!(table, "{pair}\n    refused: {error}").unwrap();
                    continue;
                }
                Err(error) => panic!("{pair}: {error}"),
            };
            let results = subject.run(&program);
            // What the lossy one of the two does alone, the pair does too.
            let exactness = [first, second].map(|passes| parse(passes).exactness());
            let (reference, tolerance) = match exactness {
                [Exactness::Lossy, Exactness::Lossy] => (&plain, lost(first) + lost(second) + LOSSY),
                // Codes may be rounded the other way where their inputs differ in the last bits.
                [Exactness::Lossy, Exactness::Reassociating] if makes_codes(first) => {
                    (&alone[first].0, LOSSY)
                }
                [Exactness::Lossy, other] => (&alone[first].0, within(other)),
                [Exactness::Reassociating, Exactness::Lossy] => (&alone[second].0, LOSSY),
                [other, Exactness::Lossy] => (&alone[second].0, within(other)),
                [a, b] => (&plain, within(a.max(b))),
            };
            let apart = distance(&results, reference);
            assert!(apart <= tolerance, "{pair}: {apart:.2e} exceeds {tolerance:.0e}");
            // What the first has quantized, a second one leaves.
            let both = is_quantized(first) && is_quantized(second);
            let kept = if both { first } else { second };
            let fewest = weight_bytes(&alone[first].1).min(weight_bytes(&alone[kept].1));
            assert!(weight_bytes(&program) <= fewest, "{pair}: not all that is quantized alone");
            writeln!(table, "{pair}\n    works").unwrap();
        }
    }
    snapshot!("pairs__table", table);
}

/// The tolerance that an exactness promises.
fn within(exactness: Exactness) -> f64 {
    match exactness {
        Exactness::Exact => 0.0,
        Exactness::Reassociating => 1e-5,
        Exactness::Lossy => LOSSY,
    }
}
