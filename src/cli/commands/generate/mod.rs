//! `reflux generate`

mod list;
mod manifest;

use crate::cli::console::{print, say, say_all};
use crate::cli::device::DeviceArg;
use crate::cli::dtype::DTypeArg;
use crate::cli::from_png::Repeated;
use crate::cli::given_pictures::PictureArgs;
use crate::cli::heap::KeptHeap;
use crate::cli::input::read_program;
use crate::cli::memory::{MemoryArg, announce_peak};
use crate::cli::number;
use crate::cli::out_names::Named;
use crate::cli::parts::PartArgs;
use crate::cli::passes::{PassArgs, check_dump_dir, in_a_line};
use crate::cli::pictures::Pictures;
use crate::cli::previews::Previews;
use crate::cli::progress::Progress;
use crate::cli::seed::SeedArg;
use crate::cli::slowest::Slowest;
use crate::cli::{by_op, latents};
use crate::files::OutputFile;
use crate::pipeline::{DiffusionPipeline, Event, OpenOptions, Report, Request, bundled_model};
use crate::{Error, VERSION};
use list::{Checked, List};
use reflux_ir::HostTensor;
use reflux_ir::pass::counted;
use reflux_models::Net;
use reflux_runtime::{Device, OpTime, Profile};
use serde::Serialize;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// clap takes an argument of the type `Vec` for a repeated one.
type Numbers = Vec<f32>;

#[derive(clap::Args)]
pub struct Args {
    /// What to draw; each prompt makes its own pictures
    #[arg(required_unless_present_any = ["from_png", "list"])]
    prompts: Vec<String>,
    /// Draw the prompts of this file instead: one a line; or objects of JSON, one a line, with `prompt` and, as they differ, `seed`,
    /// `steps`, `guidance`, `width`, `height`, `num_images`, `negative_prompt`, `true_cfg_scale` and `max_sequence_length`. Each line
    /// draws its own noise from its seed, or else from --seed
    #[arg(
        id = "list", long = "prompts", value_name = "FILE",
        conflicts_with_all = ["prompts", "from_png", "image_index", "init_latents", "save_latents", "preview", "profile", "dump_dir"]
    )]
    list: Option<PathBuf>,
    /// With --prompts: where to write, line by line, which pictures are done and how they were made [default: manifest.jsonl beside
    /// them]
    #[arg(long, value_name = "FILE", requires = "list")]
    manifest: Option<PathBuf>,
    /// With --prompts: leave out the pictures that are there as the manifest says
    #[arg(long, requires = "list")]
    resume: bool,
    /// A model folder in diffusers layout, or the id of a model in the Hugging Face Hub's local cache, for example
    /// black-forest-labs/FLUX.1-dev [default: the bundled model]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// Where to write the picture, a .png, .jpg or .webp (lossless); several are numbered NAME-0.png, NAME-1.png, …, unless the name
    /// has {prompt}, {seed} or {index}. To a device, a pipe or standard output (-) several pictures are written one after the
    /// other
    #[arg(long, short, value_name = "FILE", default_value = "out.png")]
    out: PathBuf,
    /// Make the picture of this .png again, as its text says: the one that Reflux writes, or else the `parameters` of the web
    /// UIs. Whatever else is given replaces what it says; pictures that it was drawn from are looked for beside it
    #[arg(long, value_name = "FILE")]
    from_png: Option<PathBuf>,
    /// Seed of the noise: the same seed gives the same picture; -1 picks a random one and prints it [default: 0]
    #[arg(long, allow_negative_numbers = true, conflicts_with = "init_latents")]
    seed: Option<SeedArg>,
    /// Denoising steps [default: the model's]
    #[arg(long, value_parser = number::count, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Embedded guidance, if the model has it [default: the model's]
    #[arg(long, value_parser = number::real, allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Width in pixels, for most models a multiple of 16 [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    width: Option<usize>,
    /// Height in pixels, for most models a multiple of 16 [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    height: Option<usize>,
    /// Pictures per prompt [default: 1]
    #[arg(long, value_parser = number::count, allow_negative_numbers = true)]
    num_images: Option<usize>,
    /// Take up to N pictures through the transformer together, of a line where there is a list; takes more memory. Pays where a picture
    /// alone does not keep the device busy: small ones, on a processor too [default: 1]
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Make only picture K, counted from 0, exactly as it would be among all of them. With a single prompt, K may exceed
    /// --num-images
    #[arg(long, value_name = "K", value_parser = number::count, allow_negative_numbers = true)]
    image_index: Option<usize>,
    /// Prompt to steer away from; needs --true-cfg-scale above 1
    #[arg(long)]
    negative_prompt: Option<String>,
    /// True classifier-free guidance; above 1 each step runs the transformer twice [default: 1]
    #[arg(long, value_parser = number::real, allow_negative_numbers = true)]
    true_cfg_scale: Option<f32>,
    #[command(flatten)]
    given: PictureArgs,
    /// The noise level before each step instead of even ones, from 1 downwards and before the shift, as in 1,0.75,0.5,0.25; the
    /// number of steps follows from it
    #[arg(long, value_name = "LIST", value_parser = number::list, allow_hyphen_values = true)]
    sigmas: Option<Numbers>,
    /// Shift the noise levels by this much, whatever the size, instead of as the model's scheduler says; 1 leaves them
    #[arg(long, value_name = "X", value_parser = number::exact, allow_negative_numbers = true)]
    flow_shift: Option<f64>,
    /// Length of the prompt in tokens [default: the model's]
    #[arg(long, value_parser = number::count, allow_negative_numbers = true)]
    max_sequence_length: Option<usize>,
    /// Start from these packed latents instead of the seed's noise
    #[arg(long, value_name = "FILE")]
    init_latents: Option<PathBuf>,
    /// Write the final packed latents to this file
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    /// Device to run on; on several, as in cuda:0-3, each step is divided among them
    #[arg(long, default_value = "auto", ignore_case = true)]
    device: DeviceArg,
    /// Run on as many GPUs, from the first on: --devices 4 is --device cuda:0-3
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true, conflicts_with = "device")]
    devices: Option<usize>,
    /// Draw whole pictures of --prompts on each of several devices, instead of dividing every step among them
    #[arg(long, requires = "list")]
    replicate: bool,
    /// Element type to compute in [default: f32 on the processor, bf16 on a GPU]
    #[arg(long, value_enum, ignore_case = true)]
    dtype: Option<DTypeArg>,
    /// What stays on the device
    #[arg(long, value_enum, default_value = "resident", ignore_case = true)]
    memory: MemoryArg,
    /// Decode pictures in overlapping tiles of this many pixels a side, which needs less memory, as in --vae-tiling=768; 1024 if
    /// none is given. Tiles have colours of their own: the smaller, the more a picture changes. 0 for none
    #[arg(
        long,
        value_name = "PIXELS",
        value_parser = number::count,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1024"
    )]
    vae_tiling: Option<usize>,
    #[command(flatten)]
    passes: PassArgs,
    /// Run this IR text as the transformer: a file from --dump-dir or `reflux ir`, perhaps edited by hand. Only the passes
    /// that you ask for run on it; steps and sizes default to the program's
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Write the transformer's program into this folder, before the first pass and after each that changes it
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Write a small picture of what is coming every N steps, as NAME.preview.png; with --json also as a line of JSON
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true)]
    preview: Option<usize>,
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
        let Self { model, program, init_latents, passes, parts, given, from_png, list, .. } = self;
        let files =
            [model, program, init_latents, from_png, list].into_iter().flatten().map(PathBuf::as_path);
        files.chain(passes.read()).chain(parts.paths()).chain(given.paths()).collect()
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
    let repeated = args.from_png.as_deref().map(Repeated::open).transpose()?;
    let request = request(args, repeated.as_ref())?;
    let read = args.read();
    if let Some(file) = &args.list {
        let Args { out, manifest, resume, json, .. } = args;
        let manifest = manifest.as_deref();
        return draw_list(
            args,
            &List { file, out, manifest, resume: *resume, json: *json, read: &read },
            &request,
        );
    }
    // clap does not require what conflicts with something that is given.
    if args.resume || args.manifest.is_some() || args.replicate {
        return Err(Error::Usage("--resume, --manifest and --replicate go with --prompts FILE".into()));
    }
    refuse_unread_prompt(&request)?;
    let pictures = Pictures::named(&args.out, &Named::of(&request)?)?;
    let latents = args.save_latents.as_deref().map(OutputFile::binary).transpose()?;
    pictures.refuse_mixing(latents.as_ref(), args.json)?;
    pictures.refuse_inputs(&read)?;
    let previews =
        args.preview.map(|_| Previews::beside(&args.out, pictures.are_streamed(), args.json, &read));
    let previews = previews.transpose()?;
    latents.as_ref().map_or(Ok(()), |latents| latents.refuse_inputs(read.iter().copied()))?;
    check_dump_dir(args.dump_dir.as_deref())?;
    let device = args.device.with(args.devices)?;
    let (mut pipeline, asked_for_passes) = open(args, device, repeated.as_ref())?;
    let _heap = KeptHeap::on(pipeline.device());
    pipeline.set_profiling(args.profile);
    pictures.refuse_sizes(&request, pipeline.defaults())?;
    if pipeline.device().plans_memory() {
        announce_peak(pipeline.planned_peak(&request)?, device);
    }
    // Names would get in the way of what else is printed.
    let names = !args.json && !pictures.are_printed() && !latents.as_ref().is_some_and(OutputFile::is_stdout);
    let made = make(args, &mut pipeline, &request, pictures, previews, names)?;
    if let Some(mut output) = latents {
        latents::write(&mut output, &made.latents)?;
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
        let (files, prompts, report) = (&made.files, &request.prompts, &made.report);
        let summary = Summary { version: VERSION, files, prompts, report, total_seconds, profile };
        let json = serde_json::to_string_pretty(&summary).expect("a summary is plain data");
        print(&format!("{json}\n"))?;
        leave(pipeline);
        return Ok(());
    }
    for (net, profile) in profiles {
        say_all(by_op::table(net.folder, &profile.by_op()));
    }
    say(sentence(made.files.len(), &made.report, total_seconds));
    leave(pipeline);
    Ok(())
}

/// Leaves what `pipeline` holds to the system, which frees it at once when the process ends: that takes less time than piece by piece. Several
/// devices have to take leave of each other.
fn leave(pipeline: DiffusionPipeline) {
    if pipeline.device().count() == 1 {
        std::mem::forget(pipeline);
    }
}

/// The pipeline that is asked for, and whether passes are.
fn open(
    args: &Args,
    device: Device,
    repeated: Option<&Repeated>,
) -> Result<(DiffusionPipeline, bool), Error> {
    let program = args.program.as_deref().map(read_program).transpose()?.map(Arc::new);
    let recorded = repeated.map(|repeated| repeated.passes(args.passes.has_loras())).transpose()?;
    let recipe = args.passes.recipe_over(recorded.flatten())?;
    let asked_for_passes = recipe.is_some();
    let model = match (&args.model, repeated) {
        (Some(model), _) => model.clone(),
        (None, Some(repeated)) => repeated.model()?,
        (None, None) => bundled_model()?,
    };
    let dtype = args.dtype.map(Into::into).or_else(|| repeated?.dtype());
    let options = OpenOptions {
        device: Some(device),
        dtype,
        parts: args.parts.parts(),
        passes: recipe.unwrap_or_default(),
        program,
        dump_dir: args.dump_dir.clone(),
        memory: args.memory.into(),
        ..OpenOptions::default()
    };
    let pipeline = DiffusionPipeline::open_with(model, options)?;
    if let Some(repeated) = repeated {
        repeated.compare(&pipeline);
    }
    Ok((pipeline, asked_for_passes))
}

/// Draws the pictures of a list of prompts.
fn draw_list(args: &Args, list: &List, common: &Request) -> Result<(), Error> {
    let checked = Checked::read(list, common)?;
    checked.requests().iter().try_for_each(refuse_unread_prompt)?;
    let device = args.device.with(args.devices)?;
    if args.replicate {
        if device.count() == 1 {
            let message =
                "--replicate draws on several devices, and there is one; name them, as in --device cuda:0-3";
            return Err(Error::Usage(message.into()));
        }
        let devices: Vec<Device> = device.each().collect();
        let (pipeline, _) = open(args, device.first(), None)?;
        let open = |device: Device| open(args, device, None).map(|(pipeline, _)| pipeline);
        return checked.draw_on(&devices, pipeline, &open);
    }
    let (mut pipeline, _) = open(args, device, None)?;
    let _heap = KeptHeap::on(pipeline.device());
    checked.draw(&mut pipeline)?;
    leave(pipeline);
    Ok(())
}

fn refuse_unread_prompt(request: &Request) -> Result<(), Error> {
    if request.negative_prompt.is_some() && request.true_cfg_scale.is_none_or(|scale| scale <= 1.0) {
        let message =
            "--negative-prompt has no effect unless --true-cfg-scale is above 1; try --true-cfg-scale 4";
        return Err(Error::Usage(message.into()));
    }
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
    previews: Option<Previews>,
    names: bool,
) -> Result<Made, Error> {
    let (mut files, mut latents) = (Vec::new(), Vec::new());
    let (progress, previews) = (RefCell::new(Progress::new()), RefCell::new(previews));
    let mut observe = |event: Event| match (event, &mut *previews.borrow_mut()) {
        (Event::Preview { image, step, steps, picture }, Some(previews)) => {
            progress.borrow().suspend(|| previews.take(image, step + 1, steps, picture));
        }
        (event, _) => progress.borrow_mut().observe(event),
    };
    let outcome = pipeline.generate_each(request, &mut observe, &mut |picture| {
        previews.borrow_mut().as_mut().map_or(Ok(()), Previews::check)?;
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

/// What the arguments ask for, and else the picture that is repeated.
fn request(args: &Args, repeated: Option<&Repeated>) -> Result<Request, Error> {
    let init_latents = args.init_latents.as_deref().map(latents::read).transpose()?;
    let request = Request {
        prompts: args.prompts.clone(),
        negative_prompt: args.negative_prompt.clone(),
        true_cfg_scale: args.true_cfg_scale,
        steps: args.steps,
        guidance: args.guidance,
        width: args.width,
        height: args.height,
        seed: args.seed.map_or(0, SeedArg::number),
        num_images: args.num_images,
        batch: args.batch,
        image_index: args.image_index,
        max_sequence_length: args.max_sequence_length,
        init_latents,
        sigmas: args.sigmas.clone(),
        flow_shift: args.flow_shift,
        preview: args.preview,
        vae_tiling: args.vae_tiling,
        unwatched: true,
        ..Request::default()
    };
    match repeated {
        Some(repeated) => repeated.complete(request, args.seed.is_some(), &args.given),
        None => args.given.add_to(request),
    }
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
