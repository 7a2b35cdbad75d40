//! The time of passes on FLUX.1-dev, and of the bundled transformer after them.

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use reflux::ir::pass::{Driver, Pipeline};
use reflux::ir::{DType, HostTensor, Program};
use reflux::models::noise::TorchGenerator;
use reflux::models::scheduler::Levels;
use reflux::models::weights::Weights;
use reflux::models::{ModelConfig, Sizes, flux1};
use reflux::passes::{LOSSLESS, registry};
use reflux::runtime::{Device, Execute, load};

const EVERYTHING: &str = "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),\
                          cache(fora,interval=3),merge-linear,fuse,dce";

fn optimize(program: Program, passes: &str, timesteps: &[f32]) -> Program {
    let pipeline = Pipeline::parse(passes, &registry()).unwrap();
    Driver { timesteps: Some(timesteps), ..Driver::default() }.run(program, &pipeline).unwrap().0
}

/// Pipelines on FLUX.1-dev at 1024², verification and all.
fn flux_dev(criterion: &mut Criterion) {
    let config = ModelConfig::built_in("flux-dev").unwrap();
    let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024, reference: None };
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap();
    let times = config
        .schedule(&Levels::even(sizes.steps), config.family().geometry.image_tokens(&sizes))
        .unwrap()
        .timesteps;
    let mut group = criterion.benchmark_group("passes_on_flux_dev");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for passes in [LOSSLESS, EVERYTHING, "cache(fastercache),dce", "merge-linear,fuse"] {
        group.bench_function(passes, |bencher| {
            bencher.iter_batched(
                || program.clone(),
                |program| optimize(program, passes, &times),
                BatchSize::PerIteration,
            )
        });
    }
    group.finish();
}

/// The 20 steps of one image of the bundled transformer, on random inputs; what is prepared per prompt is part of it.
fn transformer(criterion: &mut Criterion) {
    let folder = reflux::bundled_model().unwrap();
    let config = ModelConfig::read(&folder).unwrap();
    let sizes = Sizes { batch: 1, steps: 20, text_tokens: 32, height: 128, width: 128, reference: None };
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::F32).unwrap();
    let times = config
        .schedule(&Levels::even(sizes.steps), config.family().geometry.image_tokens(&sizes))
        .unwrap()
        .timesteps;
    let weights = Weights::open(folder.join(flux1::TRANSFORMER.folder)).unwrap();
    let noise = noise(&program);
    let mut group = criterion.benchmark_group("transformer_20_steps");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for passes in ["", "hoist", LOSSLESS, "hoist,cache(fora,interval=3),dce", EVERYTHING] {
        let mut executor = load(Device::host(), optimize(program.clone(), passes, &times), &weights).unwrap();
        let name = if passes.is_empty() { "unoptimized" } else { passes };
        group.bench_function(name, |bencher| bencher.iter(|| image(executor.as_mut(), &noise)));
    }
    group.finish();
}

/// Noise for every float input.
fn noise(program: &Program) -> Vec<(String, HostTensor)> {
    let mut generator = TorchGenerator::new(0);
    let floats = program.inputs.iter().filter(|input| input.fact.dtype.is_float());
    floats
        .map(|input| {
            let values = generator.randn_f32(input.fact.shape.elements());
            (input.name.to_string(), HostTensor::from_f32(input.fact.shape.to_vec(), &values))
        })
        .collect()
}

fn image(executor: &mut dyn Execute, inputs: &[(String, HostTensor)]) {
    executor.reset();
    for (name, value) in inputs {
        executor.bind(name, value).unwrap();
    }
    for step in 0..executor.program().schedule.len() {
        executor.step(step).unwrap();
    }
}

criterion_group!(benches, flux_dev, transformer);
criterion_main!(benches);
