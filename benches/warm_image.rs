//! The time of one image in a warm process, and of printing FLUX.1-dev's IR.

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use reflux::DiffusionPipeline;
use reflux::ir::DType;
use reflux::models::{ModelConfig, Sizes, flux1};

/// An image of the bundled checkpoint; the first one, which loads the networks, is not measured.
fn image(criterion: &mut Criterion) {
    let mut pipeline = DiffusionPipeline::open(reflux::bundled_model().unwrap()).unwrap();
    let request = reflux_benches::request();
    pipeline.generate(&request).unwrap();

    let mut group = criterion.benchmark_group("image_128x128_20_steps");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("warm", |bencher| bencher.iter(|| pipeline.generate(&request).unwrap()));
    group.finish();
}

/// FLUX.1-dev's transformer at its usual size, from its configuration to the IR's text.
fn print_ir(criterion: &mut Criterion) {
    let config = ModelConfig::built_in("flux-dev").unwrap();
    let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024, reference: None };
    criterion.bench_function("print_flux_dev_ir", |bencher| {
        bencher.iter(|| config.lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap().to_string())
    });
}

criterion_group!(benches, image, print_ir);
criterion_main!(benches);
