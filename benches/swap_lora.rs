//! Puts one LoRA in the place of another beside the products of a loaded model, and says how long that takes and what the pictures
//! before and after it take:
//!
//! ```sh
//! cargo run --release -p reflux-benches --bin swap_lora -- MODEL cuda "quantize(int8dq,exclude=norm+embedding)" a.safetensors b.safetensors
//! ```
//!
//! `MODEL` is a folder, or the name of a built-in configuration such as `flux-dev`, whose weights are random.

use reflux::ir::pass::{Pipeline, Recipe};
use reflux::models::ModelConfig;
use reflux::passes::LoraMode;
use reflux::{DiffusionPipeline, LoraFiles, OpenOptions, Request, registry};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
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
    let draw = |pipeline: &mut DiffusionPipeline, what: &str| -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        pipeline.generate(&request)?;
        println!("{what}: {:.0} ms for a picture of 4 steps", milliseconds(start.elapsed()));
        Ok(())
    };
    draw(&mut pipeline, "first")?;
    draw(&mut pipeline, "again")?;
    for file in [second, first, second] {
        let start = Instant::now();
        pipeline.replace_lora(0, Path::new(file))?;
        println!("{file} takes the place of the other in {:.0} ms", milliseconds(start.elapsed()));
        draw(&mut pipeline, "then")?;
    }
    let start = Instant::now();
    pipeline.set_lora_strength(0, 0.5)?;
    println!("another strength takes {:.3} ms", milliseconds(start.elapsed()));
    draw(&mut pipeline, "then")
}
