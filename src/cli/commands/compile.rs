//! `reflux compile`

use crate::Error;
use crate::cli::console::print;
use crate::cli::device::DeviceArg;
use crate::cli::lowering::{ModelArg, SizeArgs};
use crate::cli::number;
use crate::cli::parts::PartArgs;
use crate::cli::passes::{PassArgs, or_none};
use crate::cli::progress::Progress;
use crate::pipeline::{
    CompileOptions, CompileReport, Event, OpenOptions, add_sizes, bundled_model, compile as save,
    verify_compiled,
};
use reflux_ir::pass::counted;
use reflux_ir::si;
use reflux_models::{ModelFiles, Parts};
use reflux_runtime::Device;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
// Networks are printed in bf16 unless told otherwise; here they are compiled as `generate` runs them.
#[command(mut_arg("dtype", |arg| arg.help("Element type to compute in [default: f32 on the processor, bf16 on a GPU]")))]
pub struct Args {
    /// A model folder in diffusers layout, or the id of a model in the Hugging Face Hub's local cache; a compiled model gets more
    /// sizes [default: the bundled model]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// The folder to write: a new one, or the same model compiled with the same passes, which gets more sizes
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Pictures to compile for; may be repeated [default: the model's size]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = number::size, conflicts_with_all = ["width", "height"])]
    size: Vec<[usize; 2]>,
    #[command(flatten)]
    sizes: SizeArgs,
    /// The device that it is for: which passes are good depends on it
    #[arg(long, default_value = "auto", ignore_case = true)]
    device: DeviceArg,
    #[command(flatten)]
    passes: PassArgs,
    /// Leave out the weights of the other networks, which are then given by options such as --t5
    #[arg(long)]
    denoiser_only: bool,
    /// Instead, read every byte of the compiled model --model, copied files included, and compare it with what was written
    #[arg(long, requires = "model", conflicts_with_all = ["out", "size", "denoiser_only", "device", "json"])]
    verify: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub fn compile(args: &Args) -> Result<(), Error> {
    let folder = args.model.clone().map_or_else(bundled_model, Ok)?;
    if args.verify {
        return verify(args, folder);
    }
    let files = ModelFiles::find(&folder, args.parts.parts())?;
    let model = ModelArg::of(&files)?;
    let sizes = match &args.size[..] {
        [] => vec![model.sizes(&args.sizes)?],
        sizes => {
            let each = sizes.iter().map(|&size| model.sizes(&args.sizes.of_size(size)));
            each.collect::<Result<_, _>>()?
        }
    };
    let device = Device::from(args.device);
    let open = OpenOptions {
        device: Some(device),
        dtype: args.sizes.dtype(),
        passes: args.passes.recipe()?.unwrap_or_default(),
        ..OpenOptions::default()
    };
    let options = CompileOptions { open, sizes, denoiser_only: args.denoiser_only };
    let is_same = |out: &PathBuf| out.canonicalize().is_ok_and(|out| Some(out) == folder.canonicalize().ok());
    let report = match (&args.out, model.is_compiled()) {
        (Some(out), true) if !is_same(out) => {
            let model = folder.display();
            let message = format!(
                "{model} is compiled already: leave out --out to add sizes to it, or compile the model it was made from"
            );
            return Err(Error::Usage(message));
        }
        (_, true) => {
            args.parts.refuse(format_args!("{} is compiled already", folder.display()))?;
            add_sizes(&files, options)?
        }
        (None, false) => {
            return Err(Error::Usage("name the folder to write, with --out".into()));
        }
        (Some(out), false) => {
            let mut progress = Progress::new();
            let report = save(&files, options, out, &mut |stage| progress.observe(Event::Stage(stage)));
            progress.finish();
            report?
        }
    };
    if args.json {
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        return print(&format!("{json}\n"));
    }
    print(&text(&report))
}

fn verify(args: &Args, folder: PathBuf) -> Result<(), Error> {
    let given = args.sizes.given().map(str::to_owned).or(args.parts.given());
    let given = given.or(args.passes.recipe()?.map(|_| "a list of passes".to_owned()));
    if let Some(option) = given {
        return Err(Error::Usage(format!("--verify compares files alone: leave out {option}")));
    }
    verify_compiled(&ModelFiles::find(&folder, Parts::default())?)?;
    print(&format!("{} is as it was written\n", folder.display()))
}

fn text(report: &CompileReport) -> String {
    let CompileReport { folder, model, device, dtype, passes, .. } = report;
    let mut text = format!("{}: {model} in {dtype}, for the device {device}\n", folder.display());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "passes   {}", or_none(passes));
    for program in &report.programs {
        let what = if program.is_new { &*program.file } else { "there already" };
        let _ = writeln!(text, "program  {}: {what}, {}B", program.sizes, si(program.bytes));
    }
    for weights in &report.weights {
        let _ = writeln!(text, "weights  {} in {}, {}B", weights.count, weights.dtype, si(weights.bytes));
    }
    let (bytes, files) = (si(report.weights_bytes), counted(report.weights_files, "file"));
    let _ = writeln!(text, "on disk  {bytes}B of weights in {files}, {}B copied", si(report.copied_bytes));
    text
}
