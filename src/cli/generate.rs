//! `reflux generate`

use super::parts::PartArgs;
use super::passes::{PassArgs, check_dump_dir, in_a_line};
use super::progress::Progress;
use super::{DTypeArg, DeviceArg, MemoryArg, announce_peak, by_op, print, tensors};
use crate::files::check_writable;
use crate::pipeline::{FluxPipeline, Image, OpenOptions, Report, Request, bundled_model};
use crate::{Error, VERSION};
use reflux_runtime::Device;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Latents travel as safetensors with this one tensor.
const LATENTS: &str = "latents";

#[derive(clap::Args)]
pub struct Args {
    /// What to draw; several prompts make several pictures
    #[arg(required = true)]
    prompts: Vec<String>,
    /// A FLUX.1 model in diffusers layout, or the id of one in the Hugging Face Hub's local cache [default: the bundled one]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// Where to write the PNG; several pictures are numbered NAME-0.png, NAME-1.png, …
    #[arg(long, short, value_name = "FILE", default_value = "out.png")]
    out: PathBuf,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Denoising steps [default: the model's]
    #[arg(long)]
    steps: Option<usize>,
    /// Embedded guidance, where the model has it [default: 3.5]
    #[arg(long, allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// In pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    width: Option<usize>,
    /// In pixels, a multiple of 16 [default: the model's]
    #[arg(long)]
    height: Option<usize>,
    /// Pictures per prompt
    #[arg(long, default_value_t = 1)]
    num_images: usize,
    /// What to steer away from; needs --true-cfg-scale above 1
    #[arg(long)]
    negative_prompt: Option<String>,
    /// Classifier-free guidance; above 1 every step computes twice
    #[arg(long, allow_negative_numbers = true, default_value_t = 1.0)]
    true_cfg_scale: f32,
    /// T5 tokens [default: the model's]
    #[arg(long)]
    max_sequence_length: Option<usize>,
    /// Start from these packed latents instead of the seed's noise
    #[arg(long, value_name = "FILE")]
    init_latents: Option<PathBuf>,
    /// Write the final packed latents here
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceArg,
    /// [default: f32 on the processor, bf16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<DTypeArg>,
    #[arg(long, value_enum, default_value = "resident")]
    memory: MemoryArg,
    #[command(flatten)]
    passes: PassArgs,
    /// Write the transformer's program into this folder, before the first pass and after each that changes it
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Print what was done, and how long it took, as JSON
    #[arg(long)]
    json: bool,
    /// Measure every op and print a table of where the time goes; slows the run down
    #[arg(long)]
    profile: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    version: &'static str,
    files: &'a [PathBuf],
    prompts: &'a [String],
    #[serde(flatten)]
    report: &'a Report,
    total_seconds: f64,
}

pub fn generate(args: &Args) -> Result<(), Error> {
    let start = Instant::now();
    if args.negative_prompt.is_some() && args.true_cfg_scale <= 1.0 {
        let message =
            "--negative-prompt has no effect unless --true-cfg-scale is above 1; try --true-cfg-scale 4";
        return Err(Error::Usage(message.into()));
    }
    let images = args.prompts.len().saturating_mul(args.num_images);
    let files = output_files(&args.out, images.min(100_000))?;
    for path in files.iter().chain(&args.save_latents) {
        check_writable(path)?;
    }
    check_dump_dir(args.dump_dir.as_deref())?;
    let recipe = args.passes.recipe()?;
    let asked_for_passes = recipe.is_some();
    let model = match &args.model {
        Some(model) => model.clone(),
        None => bundled_model()?,
    };
    let options = OpenOptions {
        device: Some(args.device.into()),
        dtype: args.dtype.map(Into::into),
        parts: args.parts.parts(),
        passes: recipe.unwrap_or_default(),
        dump_dir: args.dump_dir.clone(),
        memory: args.memory.into(),
    };
    let mut pipeline = FluxPipeline::open_with(model, options)?;
    pipeline.set_profiling(args.profile);
    let request = request(args)?;

    if pipeline.device() == Device::Cuda {
        announce_peak(pipeline.planned_peak(&request)?);
    }
    let mut progress = Progress::new();
    let (images, report) = pipeline.generate_with(&request, &mut |event| progress.observe(event))?;
    progress.finish();
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    for pass in report.passes.iter().filter(|_| asked_for_passes) {
        eprintln!("{}", in_a_line(pass));
    }
    for (image, path) in images.iter().zip(&files) {
        image.save(path)?;
    }
    if let Some(path) = &args.save_latents {
        tensors::write(path, &[(LATENTS.to_owned(), report.latents.clone())])?;
    }
    let total_seconds = start.elapsed().as_secs_f64();
    if args.profile {
        for (net, profile) in pipeline.profiles() {
            eprint!("{}", by_op::table(net.folder(), &profile.by_op()));
        }
    }
    if args.json {
        let (prompts, report) = (&args.prompts, &report);
        let summary = Summary { version: VERSION, files: &files, prompts, report, total_seconds };
        let json = serde_json::to_string_pretty(&summary).expect("a summary is plain data");
        return print(&format!("{json}\n"));
    }
    print(&sentence(&files, &images, &report, total_seconds))
}

fn request(args: &Args) -> Result<Request, Error> {
    let init_latents = match &args.init_latents {
        Some(path) => Some(read_latents(path)?),
        None => None,
    };
    Ok(Request {
        prompts: args.prompts.clone(),
        negative_prompt: args.negative_prompt.clone(),
        true_cfg_scale: Some(args.true_cfg_scale),
        steps: args.steps,
        guidance: args.guidance,
        width: args.width,
        height: args.height,
        seed: args.seed,
        num_images: Some(args.num_images),
        max_sequence_length: args.max_sequence_length,
        init_latents,
    })
}

fn read_latents(path: &Path) -> Result<reflux_ir::HostTensor, Error> {
    let mut tensors = tensors::read(path)?;
    let found = tensors.iter().position(|(name, _)| name == LATENTS);
    let Some(index) = found else {
        let why = format!("it holds no tensor `{LATENTS}`, packed as f32[pictures, tokens, channels]");
        return Err(Error::Tensors { path: path.to_owned(), why });
    };
    Ok(tensors.swap_remove(index).1)
}

/// `out.png` for one picture; `out-0.png`, `out-1.png`, … for several.
fn output_files(out: &Path, images: usize) -> Result<Vec<PathBuf>, Error> {
    if out.is_dir() {
        return Err(Error::Usage(format!("--out {} is a folder; name a file in it", out.display())));
    }
    let (Some(stem), extension) = (out.file_stem(), out.extension()) else {
        return Err(Error::Usage(format!("--out {} names no file", out.display())));
    };
    let extension = extension.map(|extension| extension.to_string_lossy().into_owned());
    if extension.as_ref().is_some_and(|extension| !extension.eq_ignore_ascii_case("png")) {
        return Err(Error::Usage(format!("--out {} is not a .png file; only PNG is written", out.display())));
    }
    if images == 1 {
        return Ok(vec![out.with_extension(extension.unwrap_or_else(|| "png".into()))]);
    }
    let stem = stem.to_string_lossy();
    Ok((0..images).map(|index| out.with_file_name(format!("{stem}-{index}.png"))).collect())
}

fn sentence(files: &[PathBuf], images: &[Image], report: &Report, seconds: f64) -> String {
    let mut text = String::new();
    for path in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", path.display());
    }
    let count = if images.len() == 1 { "1 picture".into() } else { format!("{} pictures", images.len()) };
    let stages: Vec<_> =
        report.stages.iter().map(|time| format!("{} {:.2} s", time.stage, time.seconds)).collect();
    eprintln!(
        "{count} of {}×{}, {} steps, seed {}, {} on {}: {seconds:.2} s ({})",
        report.width,
        report.height,
        report.steps,
        report.seed,
        report.dtype,
        report.device,
        stages.join(", ")
    );
    text
}
