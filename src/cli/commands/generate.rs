//! `reflux generate`

use crate::cli::console::{print, say, say_all};
use crate::cli::device::DeviceArg;
use crate::cli::dtype::DTypeArg;
use crate::cli::heap::KeptHeap;
use crate::cli::input::read_program;
use crate::cli::memory::{MemoryArg, announce_peak};
use crate::cli::number;
use crate::cli::parts::PartArgs;
use crate::cli::passes::{PassArgs, check_dump_dir, in_a_line};
use crate::cli::pictures::Pictures;
use crate::cli::progress::Progress;
use crate::cli::seed::SeedArg;
use crate::cli::slowest::Slowest;
use crate::cli::{by_op, tensors};
use crate::files::Output;
use crate::pipeline::{DiffusionPipeline, OpenOptions, Report, Request, bundled_model};
use crate::{Error, VERSION};
use reflux_ir::HostTensor;
use reflux_ir::pass::counted;
use reflux_models::Net;
use reflux_runtime::{OpTime, Profile};
use serde::Serialize;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The one tensor of safetensors files with latents.
const LATENTS: &str = "latents";

#[derive(clap::Args)]
pub struct Args {
    /// What to draw; each prompt makes its own pictures
    #[arg(required = true)]
    prompts: Vec<String>,
    /// A FLUX.1 model in diffusers layout, or the id of one in the Hugging Face Hub's local cache [default: the bundled one]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// Where to write the picture, a .png, .jpg or .webp (lossless); several are numbered NAME-0.png, NAME-1.png, … To a
    /// device, a pipe or standard output (-) several pictures are written one after the other
    #[arg(long, short, value_name = "FILE", default_value = "out.png")]
    out: PathBuf,
    /// Seed of the noise: the same seed gives the same picture; -1 picks a random one and prints it
    #[arg(long, default_value = "0", allow_negative_numbers = true, conflicts_with = "init_latents")]
    seed: SeedArg,
    /// Denoising steps [default: the model's]
    #[arg(long, value_parser = number::count, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Embedded guidance, if the model has it [default: 3.5]
    #[arg(long, value_parser = number::real, allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// In pixels, a multiple of 16 [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    width: Option<usize>,
    /// In pixels, a multiple of 16 [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    height: Option<usize>,
    /// Pictures per prompt
    #[arg(long, default_value = "1", value_parser = number::count, allow_negative_numbers = true)]
    num_images: usize,
    /// Make only picture K, counted from 0, exactly as it would be among all of them. With a single prompt, K may exceed
    /// --num-images
    #[arg(long, value_name = "K", value_parser = number::count, allow_negative_numbers = true)]
    image_index: Option<usize>,
    /// Prompt to steer away from; needs --true-cfg-scale above 1
    #[arg(long)]
    negative_prompt: Option<String>,
    /// True classifier-free guidance; above 1 each step runs the transformer twice
    #[arg(long, default_value = "1", value_parser = number::real, allow_negative_numbers = true)]
    true_cfg_scale: f32,
    /// Length of the prompt in T5 tokens [default: the model's]
    #[arg(long, value_parser = number::count, allow_negative_numbers = true)]
    max_sequence_length: Option<usize>,
    /// Start from these packed latents instead of the seed's noise
    #[arg(long, value_name = "FILE")]
    init_latents: Option<PathBuf>,
    /// Write the final packed latents to this file
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    #[arg(long, default_value = "auto", ignore_case = true)]
    device: DeviceArg,
    /// [default: f32 on the processor, bf16 on a GPU]
    #[arg(long, value_enum, ignore_case = true)]
    dtype: Option<DTypeArg>,
    #[arg(long, value_enum, default_value = "resident", ignore_case = true)]
    memory: MemoryArg,
    #[command(flatten)]
    passes: PassArgs,
    /// Run this IR text as the transformer, unchanged: a file from --dump-dir or `reflux ir`, perhaps edited by hand. Only
    /// passes that are asked for run on it; steps and sizes that are not given are the program's
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Write the transformer's program into this folder, before the first pass and after each that changes it
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Print what was done and how long it took as JSON
    #[arg(long)]
    json: bool,
    /// Measure every op and print a table of where the time goes; slows the run down
    #[arg(long)]
    profile: bool,
}

impl Args {
    /// The input files.
    fn read(&self) -> Vec<&Path> {
        let Self { model, program, init_latents, passes, parts, .. } = self;
        let files = [model, program, init_latents].into_iter().flatten().map(PathBuf::as_path);
        files.chain(passes.read()).chain(parts.paths()).collect()
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<NetworkProfile>>,
}

/// The profile of a network.
#[derive(Serialize)]
struct NetworkProfile {
    network: &'static str,
    by_op: Vec<OpTime>,
    slowest: Slowest,
}

pub fn generate(args: &Args) -> Result<(), Error> {
    let start = Instant::now();
    if args.negative_prompt.is_some() && args.true_cfg_scale <= 1.0 {
        let message =
            "--negative-prompt has no effect unless --true-cfg-scale is above 1; try --true-cfg-scale 4";
        return Err(Error::Usage(message.into()));
    }
    let request = request(args)?;
    let pictures = Pictures::named(&args.out, request.pictures()?)?;
    let latents = args.save_latents.as_deref().map(Output::binary).transpose()?;
    pictures.refuse_mixing(latents.as_ref(), args.json)?;
    let read = args.read();
    pictures.refuse_inputs(&read)?;
    latents.as_ref().map_or(Ok(()), |latents| latents.refuse_inputs(read.iter().copied()))?;
    check_dump_dir(args.dump_dir.as_deref())?;
    let program = args.program.as_deref().map(read_program).transpose()?.map(Arc::new);
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
        program,
        dump_dir: args.dump_dir.clone(),
        memory: args.memory.into(),
    };
    let mut pipeline = DiffusionPipeline::open_with(model, options)?;
    let _heap = KeptHeap::on(pipeline.device());
    pipeline.set_profiling(args.profile);
    pictures.refuse_sizes(&request, pipeline.defaults())?;
    if pipeline.device().plans_memory() {
        announce_peak(pipeline.planned_peak(&request)?);
    }
    // Names would get in the way of what else is printed.
    let names = !args.json && !pictures.are_printed() && !latents.as_ref().is_some_and(Output::is_stdout);
    let made = make(args, &mut pipeline, &request, pictures, names)?;
    if let Some(mut output) = latents {
        tensors::write(&mut output, &[(LATENTS.to_owned(), joined(&made.latents))])?;
    }
    for warning in &made.report.warnings {
        say(format_args!("warning: {warning}"));
    }
    for pass in made.report.passes.iter().filter(|_| asked_for_passes) {
        say(in_a_line(pass));
    }
    let total_seconds = start.elapsed().as_secs_f64();
    let profiles = pipeline.profiles();
    if args.json {
        let profile = args.profile.then(|| {
            let of = |(net, profile): &(&'static Net, &Profile)| NetworkProfile {
                network: net.folder,
                by_op: profile.by_op(),
                slowest: Slowest::of(profile),
            };
            profiles.iter().map(of).collect()
        });
        let (files, prompts, report) = (&made.files, &args.prompts, &made.report);
        let summary = Summary { version: VERSION, files, prompts, report, total_seconds, profile };
        let json = serde_json::to_string_pretty(&summary).expect("a summary is plain data");
        return print(&format!("{json}\n"));
    }
    for (net, profile) in profiles {
        say_all(by_op::table(net.folder, &profile.by_op()));
    }
    say(sentence(made.files.len(), &made.report, total_seconds));
    Ok(())
}

/// The outcome of a request.
struct Made {
    /// Where the pictures were written.
    files: Vec<PathBuf>,
    /// The final latents of each picture, if requested.
    latents: Vec<HostTensor>,
    report: Report,
}

/// Makes the pictures. Each is written as soon as it is done, and its name printed if `names` is set, since later ones may fail.
fn make(
    args: &Args,
    pipeline: &mut DiffusionPipeline,
    request: &Request,
    mut pictures: Pictures,
    names: bool,
) -> Result<Made, Error> {
    let (mut files, mut latents) = (Vec::new(), Vec::new());
    let progress = RefCell::new(Progress::new());
    let outcome =
        pipeline.generate_each(request, &mut |event| progress.borrow_mut().observe(event), &mut |picture| {
            let path = pictures.write(&picture.image)?;
            if names {
                progress.borrow().suspend(|| print(&format!("{}\n", path.display())))?;
            }
            files.push(path);
            latents.extend(args.save_latents.is_some().then_some(picture.latents));
            Ok(())
        });
    progress.borrow().finish();
    match outcome {
        Ok(report) => Ok(Made { files, latents, report }),
        Err(error) if files.is_empty() => Err(error),
        Err(error) => Err(Error::Unfinished { done: files.len(), error: Box::new(error) }),
    }
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
        seed: args.seed.number(),
        num_images: Some(args.num_images),
        image_index: args.image_index,
        max_sequence_length: args.max_sequence_length,
        init_latents,
    })
}

/// One tensor `[pictures, tokens, channels]` from those of single pictures.
fn joined(latents: &[HostTensor]) -> HostTensor {
    let values: Vec<f32> = latents.iter().flat_map(HostTensor::to_f32).collect();
    let shape = latents.first().map_or([0, 0, 0], |first| [latents.len(), first.shape[1], first.shape[2]]);
    HostTensor::from_f32(shape, &values)
}

fn read_latents(path: &Path) -> Result<HostTensor, Error> {
    let mut tensors = tensors::read(path)?;
    let found = tensors.iter().position(|(name, _)| name == LATENTS);
    let Some(index) = found else {
        let why = format!("it holds no tensor `{LATENTS}`, packed as f32[pictures, tokens, channels]");
        return Err(Error::Tensors { path: path.to_owned(), why });
    };
    let latents = tensors.swap_remove(index).1;
    if !latents.dtype.is_float() {
        let why = format!(
            "`{LATENTS}` has dtype {}; latents must be floating-point numbers, f32 as Reflux saves them",
            latents.dtype
        );
        return Err(Error::Tensors { path: path.to_owned(), why });
    }
    Ok(latents)
}

fn sentence(pictures: usize, report: &Report, seconds: f64) -> String {
    let Report { width, height, steps, seed, dtype, device, .. } = report;
    let stages: Vec<_> =
        report.stages.iter().map(|time| format!("{} {:.2} s", time.stage, time.seconds)).collect();
    format!(
        "{} of {width}×{height}, {}, seed {seed}, {dtype} on {device}: {seconds:.2} s ({})",
        counted(pictures, "picture"),
        counted(*steps, "step"),
        stages.join(", ")
    )
}
