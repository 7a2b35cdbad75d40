//! A program and the passes that run on it: what `opt` and `explore` are given.

use super::input::{InputArg, parse};
use super::lowering::{ModelArg, SizeArgs, built_in_names, net_names};
use super::parts::PartArgs;
use super::passes::{DriveArgs, Driven};
use super::text_file::read_text;
use crate::Error;
use crate::files::OutputFile;
use crate::pipeline::registry;
use reflux_ir::pass::{ConfigError, Pipeline, header};
use reflux_ir::{Machine, Program};
use reflux_models::names;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct OptimizeArgs {
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration such as flux-dev
    pub input: PathBuf,
    #[command(flatten)]
    parts: PartArgs,
    /// The network of a model to optimize [default: transformer]
    #[arg(long, value_parser = net_names())]
    net: Option<String>,
    #[command(flatten)]
    drive: DriveArgs,
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

impl OptimizeArgs {
    /// The device to estimate times on, if one is given.
    pub fn machine(&self) -> Option<&'static Machine> {
        self.drive.machine()
    }

    /// Refuses an `out` that is read, or that lies in the folder of dumps, whose files have names of their own. It may be the program's
    /// file, which then is replaced by what passes made of it.
    pub fn refuse_inputs(&self, out: &OutputFile) -> Result<(), Error> {
        self.drive.refuse_dumped(out)?;
        out.refuse_inputs(self.drive.passes.read().chain(self.parts.paths()))
    }

    /// The same for an `out` that is no program, and so may not take the place of one.
    pub fn refuse_program(&self, out: &OutputFile) -> Result<(), Error> {
        self.refuse_inputs(out)?;
        out.refuse_inputs(Some(self.input.as_path()).filter(|input| input.is_file()))
    }

    /// The program after the passes; with a trace of these, if one is asked for, in which times are estimated for `machine`.
    pub fn run(&self, machine: Option<&'static Machine>, traces: bool) -> Result<Driven, Error> {
        let recipe = self.drive.passes.recipe()?;
        let input = InputArg::with_parts(&self.input, &self.parts)?;
        let Unoptimized { program, timesteps, passes } = self.source(&input)?;
        let default = input.default_for(self.net.as_deref(), machine)?;
        let mut pipeline = match recipe {
            Some(recipe) => input.meant(recipe).pipeline(&default),
            None => passes.unwrap_or(default),
        };
        input.settle_loras(&mut pipeline, self.net.as_deref())?;
        self.drive.drive(program, pipeline, timesteps.as_deref(), machine, traces)
    }

    fn source(&self, input: &InputArg) -> Result<Unoptimized, Error> {
        match input {
            InputArg::Model(_) => self.of_model(input),
            InputArg::File(path) => {
                self.refuse_net(input, path)?;
                self.of_file(path)
            }
            InputArg::Onnx(path) => {
                self.refuse_net(input, path)?;
                self.of_model(input)
            }
        }
    }

    /// Refuses what is for models, which `path` is not.
    fn refuse_net(&self, input: &InputArg, path: &Path) -> Result<(), Error> {
        input.refuse_sizes(&self.sizes)?;
        match self.net {
            Some(_) => {
                let path = path.display();
                Err(Error::Usage(format!("--net is for models; {path} is one network, leave it out")))
            }
            None => Ok(()),
        }
    }

    fn of_model(&self, input: &InputArg) -> Result<Unoptimized, Error> {
        let flags = [("--model", self.model.is_some()), ("--config", self.config.is_some())];
        if let Some((flag, _)) = flags.into_iter().find(|(_, given)| *given) {
            let input = self.input.display();
            let message =
                format!("{flag} says what an IR file was made from; {input} is a model, leave it out");
            return Err(Error::Usage(message));
        }
        let (program, timesteps) = input.program(self.net.as_deref(), &self.sizes)?;
        Ok(Unoptimized { program, timesteps, passes: None })
    }

    fn of_file(&self, path: &Path) -> Result<Unoptimized, Error> {
        let source = read_text(path)?;
        let program = parse(path, &source)?;
        let passes = header(&source).map(|header| Pipeline::parse(&header.passes, &registry())).transpose();
        let passes = passes.map_err(|error| {
            let error = ConfigError::Pipeline(error);
            Error::Config { path: path.to_owned(), error }
        })?;
        let timesteps = self.timesteps_of(&program)?;
        Ok(Unoptimized { program, timesteps, passes })
    }

    /// The timesteps of a program, if the model that it was made from is given.
    fn timesteps_of(&self, program: &Program) -> Result<Option<Vec<f32>>, Error> {
        let model = match (&self.model, &self.config) {
            (Some(folder), _) => ModelArg::read(folder)?,
            (None, Some(name)) => ModelArg::built_in(name).expect("clap knows the names"),
            (None, None) => return Ok(None),
        };
        let latents = program.inputs.iter().find(|input| *input.name == *names::LATENTS);
        let Some([_, tokens, _]) = latents.map(|input| &input.fact.shape[..]) else {
            let path = self.input.display();
            let message =
                format!("{path} has no input `latents` of three axes, so its timesteps are unknown");
            return Err(Error::Usage(message));
        };
        model.timesteps_of(program.schedule.len(), *tokens).map(Some)
    }
}
