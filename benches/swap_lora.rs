//! Puts one LoRA in the place of another beside the products of a loaded model, and says how long that takes and what the pictures
//! before and after it take:
//!
//! ```sh
//! cargo run --release -p reflux-benches --bin swap_lora -- MODEL cuda "quantize(int8dq,exclude=norm+embedding)" a.safetensors b.safetensors
//! ```
//!
//! With `RUST_LOG=reflux=trace` it says what each part of it takes. `MODEL` is a folder, or the name of a built-in configuration such as `flux-dev`, whose weights are random.

use reflux::ir::pass::{Pipeline, Recipe};
use reflux::models::ModelConfig;
use reflux::passes::LoraMode;
use reflux::{DiffusionPipeline, LoraFiles, OpenOptions, Request, registry};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let usage = "swap_lora MODEL DEVICE PASSES LORA OTHER";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, device, passes, first, second] = &args[..] else { return Err(usage.into()) };
    let mut loras = Pipeline::new();
    loras.push(LoraFiles { files: vec![first.clone()], mode: LoraMode::Branch, partial: false });
    let passes = Recipe::parse(passes, &registry())?.and(loras);
    let options = OpenOptions { passes, device: Some(device.parse()?), ..OpenOptions::default() };
    let mut pipeline = match ModelConfig::built_in(model) {
        Some(config) => {
            let defaults = config.defaults();
            DiffusionPipeline::with_random_weights(config, defaults, options)?
        }
        None => DiffusionPipeline::open_with(model, options)?,
    };
    let request = Request::new("a cat").steps(4);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let draw = |pipeline: &mut DiffusionPipeline, what: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        let start = Instant::now();
        let pictures = pipeline.generate(&request)?;
        println!("{what}: {:.0} ms for a picture of 4 steps", milliseconds(start.elapsed()));
        Ok(pictures[0].pixels().to_vec())
    };
    draw(&mut pipeline, "first")?;
    let of_first = draw(&mut pipeline, "again")?;
    let mut drawn = Vec::new();
    for file in [second, first, second, first] {
        let start = Instant::now();
        pipeline.replace_lora(0, Path::new(file))?;
        println!("{file} takes the place of the other in {:.0} ms", milliseconds(start.elapsed()));
        drawn.push(draw(&mut pipeline, "then")?);
    }
    if drawn[0] == of_first || drawn[0] != drawn[2] || [&drawn[1], &drawn[3]] != [&of_first; 2] {
        return Err("the pictures are not those of the files".into());
    }
    let start = Instant::now();
    pipeline.set_lora_strength(0, 0.5)?;
    println!("another strength takes {:.3} ms", milliseconds(start.elapsed()));
    draw(&mut pipeline, "then").map(drop)
}
