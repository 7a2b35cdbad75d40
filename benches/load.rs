//! Loads a transformer onto a device and says how fast, in bytes as its file stores them:
//!
//! ```sh
//! cargo run --release -p reflux-benches --bin load -- flux-dev dev-q4_k.gguf cuda "quantize(int8dq,exclude=norm+embedding)"
//! ```
//!
//! The configuration is a built-in one or that of a model's folder. The passes run before the lossless ones.

use reflux::ir::pass::{Driver, Recipe};
use reflux::ir::{DType, WeightError};
use reflux::models::weights::Weights;
use reflux::models::{ModelConfig, Sizes};
use reflux::passes::{LOSSLESS, registry};
use reflux::runtime::{Device, load};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "load flux-dev|flux-schnell|FOLDER FILE DEVICE [PASSES]";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [config, file, device, passes @ ..] = &args[..] else { return Err(usage.into()) };
    let config = match ModelConfig::built_in(config) {
        Some(config) => config,
        None => ModelConfig::read(Path::new(config))?,
    };
    let device: Device = device.parse()?;
    let net = config.family().denoiser();
    let weights = Weights::open_for(net, file)?;
    let sizes = Sizes { batch: 1, steps: 4, text_tokens: 512, height: 1024, width: 1024, reference: None };
    let mut program = config.lower(net, &sizes, DType::BF16)?;
    weights.read_as_stored(&mut program);
    let recipe = Recipe::parse(&passes.concat(), &registry())?;
    let pipeline = recipe.pipeline(&reflux::ir::pass::Pipeline::parse(LOSSLESS, &registry())?);
    let (program, _) = Driver::default().run(program, &pipeline)?;
    let bytes = |name: &str| Ok(weights.get(name)?.parts.iter().map(|part| part.len()).sum::<usize>());
    let bytes: usize = weights.names().map(bytes).sum::<Result<_, WeightError>>()?;
    let gigabytes = bytes as f64 / 1e9;
    let start = Instant::now();
    let loaded = load(device, program, &weights)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{file}: {gigabytes:.1} GB in {seconds:.2} s, {:.2} GB/s", gigabytes / seconds);
    drop(loaded);
    Ok(())
}
