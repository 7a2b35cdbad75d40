//! A custom pass, used through the library: it skips blocks of the transformer, which a network of residual blocks tolerates
//! surprisingly well.
//!
//! ```sh
//! cargo run --release -p skip-blocks -- "single_transformer_blocks.2" "a red apple on a blue background"
//! ```

mod skip_blocks;

use reflux::ir::pass::{About, PassInfo, Recipe};
use reflux::passes::registry;
use reflux::{DiffusionPipeline, OpenOptions, Request, bundled_model};
use skip_blocks::SkipBlocks;
use std::error::Error;
use std::process::ExitCode;

/// What makes the pass known to pipelines.
const SKIP_BLOCKS: PassInfo = PassInfo {
    name: "skip-blocks",
    summary: "residual blocks left out, by module path",
    positional: Some("blocks"),
    example: "skip-blocks(single_transformer_blocks.2)",
    about: About::of::<SkipBlocks>,
    build: PassInfo::from_options::<SkipBlocks>,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let blocks = args.next().unwrap_or_else(|| "single_transformer_blocks.2".into());
    let prompt = args.next().unwrap_or_else(|| "a red apple on a blue background".into());

    // What makes the rest of the step fast comes with it.
    let passes = Recipe::parse(&format!("skip-blocks({blocks})"), &registry().with(SKIP_BLOCKS))?;
    let options = OpenOptions { passes, ..OpenOptions::default() };
    let mut pipeline = DiffusionPipeline::open_with(bundled_model()?, options)?;

    let (images, report) = pipeline.generate_with(&Request::new(prompt), &mut |_| {})?;
    for pass in &report.passes {
        eprintln!("{pass}");
    }
    images[0].save("skipped.png")?;
    println!("skipped.png");
    Ok(())
}
