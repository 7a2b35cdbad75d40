//! `reflux calibrate`

use crate::Error;
use crate::cli::console::say;
use crate::cli::drawing::DrawArgs;
use crate::cli::heap::KeptHeap;
use crate::cli::parts::PartArgs;
use crate::cli::progress::Progress;
use crate::cli::seed::SeedArg;
use crate::cli::shell::quoted;
use crate::cli::text_file::{text_output, write_result};
use crate::pipeline::{Request, bundled_model, calibrate as measure};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reflux_ir::pass::written;
use reflux_models::ModelFiles;
use reflux_passes::{METHODS, Method};
use serde_json::Value;
use std::path::PathBuf;

/// What is drawn where no prompts are given: pictures of different kinds.
const PROMPTS: [&str; 4] = [
    "a red apple on a blue background",
    "a portrait of an old woman with a hat, soft light",
    "a city street at night in the rain, with neon signs",
    "a mountain lake, watercolour",
];

#[derive(clap::Args)]
pub struct Args {
    /// The method whose option to measure: `magcache` for its ratios, `teacache` for its polynomial
    #[arg(value_parser = methods(), ignore_case = true)]
    method: Method,
    /// What to draw for that [default: four pictures of different kinds]
    prompts: Vec<String>,
    /// A model folder in diffusers layout, or an id in the Hugging Face Hub's local cache [default: the bundled model]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// Where to write what was measured, as JSON; the option of `cache` reads it: cache(magcache,ratios=FILE) [default: standard
    /// output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seed of the noise; -1 picks a random one and prints it
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    seed: SeedArg,
    #[command(flatten)]
    draw: DrawArgs,
}

/// The methods that have something to measure.
fn methods() -> impl TypedValueParser<Value = Method> {
    let measured = METHODS.iter().filter(|method| method.measured_option().is_some());
    let values = measured.map(|method| PossibleValue::new(method.name).help(method.help));
    PossibleValuesParser::new(values)
        .map(|name| Method::named(&name.to_lowercase()).expect("clap knows the names"))
}

pub fn calibrate(args: &Args) -> Result<(), Error> {
    let mut output = text_output(args.out.as_deref())?;
    let read = args.model.as_deref().into_iter().chain(args.parts.paths());
    output.refuse_inputs(read)?;
    let model = args.model.clone().map_or_else(bundled_model, Ok)?;
    let files = ModelFiles::find(&model, args.parts.parts())?;
    let prompts = match &args.prompts[..] {
        [] => PROMPTS.map(str::to_owned).to_vec(),
        given => given.to_vec(),
    };
    let request = Request { prompts, seed: args.seed.number(), ..args.draw.request() };
    let _heap = KeptHeap::on(args.draw.device());
    let mut progress = Progress::new();
    let measured = measure(files, args.draw.open_options(), &args.method, &request, &mut |event| {
        progress.observe(event)
    });
    progress.finish();
    let measured = measured?;
    let json = serde_json::to_string_pretty(&measured).expect("what is measured is plain data");
    write_result(&mut output, &format!("{json}\n"))?;
    if let (Some(path), Some(option)) = (&args.out, args.method.measured_option()) {
        // A path with a space or a comma is quoted twice: for whoever reads passes, and for the shell.
        let path = written(&Value::String(path.display().to_string()));
        let passes = format!("cache({},{option}={path})", args.method);
        say(format_args!("read by --passes {}", quoted(&passes)));
    }
    Ok(())
}
