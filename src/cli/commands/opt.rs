//! `reflux opt`

use crate::Error;
use crate::cli::console::{print, say_all};
use crate::cli::input::{InputArg, parse};
use crate::cli::lowering::{ModelArg, SizeArgs, built_in_names, net_names};
use crate::cli::parts::PartArgs;
use crate::cli::passes::DriveArgs;
use crate::cli::text_file::{read_text, text_output, write_result};
use crate::pipeline::registry;
use reflux_ir::Program;
use reflux_ir::pass::{ConfigError, Pipeline, header};
use reflux_models::names;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration such as flux-dev
    input: PathBuf,
    #[command(flatten)]
    parts: PartArgs,
    /// The network of a model to optimize [default: transformer]
    #[arg(long, value_parser = net_names())]
    net: Option<String>,
    #[command(flatten)]
    drive: DriveArgs,
    /// Where to write the program [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the report as JSON to standard output, instead of the program
    #[arg(long)]
    json: bool,
    /// Also print how often each rule was tried and applied, and how long that took
    #[arg(long)]
    rules: bool,
    /// Print what the passes would do, with --json as JSON, and write nothing
    #[arg(long, conflicts_with_all = ["out", "dump_dir"])]
    preview: bool,
    /// The model that an IR file was made from; gives the timesteps
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    model: Option<PathBuf>,
    /// The built-in configuration that an IR file was made from; gives the timesteps
    #[arg(long, value_name = "NAME", value_parser = built_in_names())]
    config: Option<String>,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// What to optimize.
struct Unoptimized {
    program: Program,
    /// The timestep of each step, if known.
    timesteps: Option<Vec<f32>>,
    /// The passes that an IR file itself asks for, as reproducers do.
    passes: Option<Pipeline>,
}

pub fn opt(args: &Args) -> Result<(), Error> {
    let mut out = text_output(args.out.as_deref())?;
    out.refuse_inputs(args.drive.passes.read().chain(args.parts.paths()))?;
    if args.json && args.out.is_some() && out.is_stdout() {
        let message = "--json prints the report to standard output, so --out must name something else";
        return Err(Error::Usage(message.into()));
    }
    let recipe = args.drive.passes.recipe()?;
    let input = InputArg::with_parts(&args.input, &args.parts)?;
    let Unoptimized { program, timesteps, passes } = source(&input, args)?;
    let default = input.default(args.net.as_deref(), args.drive.machine())?;
    let mut pipeline = match recipe {
        Some(recipe) => input.meant(recipe).pipeline(&default),
        None => passes.unwrap_or(default),
    };
    input.settle_loras(&mut pipeline, args.net.as_deref())?;
    let (program, report) = args.drive.run(program, pipeline, timesteps.as_deref())?;
    let mut more = if args.rules { report.rules().to_string() } else { String::new() };
    let explanations = report.passes.iter().flat_map(|pass| &pass.explanations);
    more.extend(explanations.map(|explanation| format!("{explanation}\n")));
    if args.preview && !args.json {
        return print(&format!("{report}{more}"));
    }
    say_all(format_args!("{report}{more}"));
    if args.json {
        if args.out.is_some() {
            write_result(&mut out, &program.to_string())?;
        }
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        return print(&format!("{json}\n"));
    }
    write_result(&mut out, &program.to_string())
}

fn source(input: &InputArg, args: &Args) -> Result<Unoptimized, Error> {
    match input {
        InputArg::Model(_) => of_model(input, args),
        InputArg::File(path) => {
            refuse_net(input, path, args)?;
            of_file(path, args)
        }
        InputArg::Onnx(path) => {
            refuse_net(input, path, args)?;
            of_model(input, args)
        }
    }
}

/// Refuses what is for models, which `path` is not.
fn refuse_net(input: &InputArg, path: &Path, args: &Args) -> Result<(), Error> {
    input.refuse_sizes(&args.sizes)?;
    match args.net {
        Some(_) => {
            let path = path.display();
            Err(Error::Usage(format!("--net is for models; {path} is one network, leave it out")))
        }
        None => Ok(()),
    }
}

fn of_model(input: &InputArg, args: &Args) -> Result<Unoptimized, Error> {
    let flags = [("--model", args.model.is_some()), ("--config", args.config.is_some())];
    if let Some((flag, _)) = flags.into_iter().find(|(_, given)| *given) {
        let input = args.input.display();
        let message = format!("{flag} says what an IR file was made from; {input} is a model, leave it out");
        return Err(Error::Usage(message));
    }
    let (program, timesteps) = input.program(args.net.as_deref(), &args.sizes)?;
    Ok(Unoptimized { program, timesteps, passes: None })
}

fn of_file(path: &Path, args: &Args) -> Result<Unoptimized, Error> {
    let source = read_text(path)?;
    let program = parse(path, &source)?;
    let passes = header(&source).map(|header| Pipeline::parse(&header.passes, &registry())).transpose();
    let passes = passes.map_err(|error| {
        let error = ConfigError::Pipeline(error);
        Error::Config { path: path.to_owned(), error }
    })?;
    let timesteps = timesteps_of(&program, args)?;
    Ok(Unoptimized { program, timesteps, passes })
}

/// The timesteps of a program, if the model that it was made from is given.
fn timesteps_of(program: &Program, args: &Args) -> Result<Option<Vec<f32>>, Error> {
    let model = match (&args.model, &args.config) {
        (Some(folder), _) => ModelArg::read(folder)?,
        (None, Some(name)) => ModelArg::built_in(name).expect("clap knows the names"),
        (None, None) => return Ok(None),
    };
    let latents = program.inputs.iter().find(|input| *input.name == *names::LATENTS);
    let Some([_, tokens, _]) = latents.map(|input| &input.fact.shape[..]) else {
        let path = args.input.display();
        let message = format!("{path} has no input `latents` of three axes, so its timesteps are unknown");
        return Err(Error::Usage(message));
    };
    model.timesteps_of(program.schedule.len(), *tokens).map(Some)
}
