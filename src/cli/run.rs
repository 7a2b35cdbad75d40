//! `reflux run`

use super::input::parse;
use super::slowest::Slowest;
use super::steps::{bind_step, random_inputs};
use super::{DeviceArg, print, read_text, tensors};
use crate::Error;
use crate::files::check_writable;
use reflux_ir::{HostTensor, Program, WeightError, WeightSource};
use reflux_models::weights::{RandomWeights, Weights};
use reflux_runtime::{Execute, load};
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    /// A program as `reflux ir` prints it
    program: PathBuf,
    /// A safetensors file with a tensor for each input of the program
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Where to write the results; those of several steps are called NAME.step0, NAME.step1, …
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,
    /// The weights that the program names
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Draw weights and inputs that are not given from this seed: a way to measure a network without its checkpoint
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceArg,
    /// Measure every op and print the slowest, those of steps first
    #[arg(long)]
    profile: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    if let Some(path) = &args.outputs {
        check_writable(path)?;
    }
    let program = parse(&args.program, &read_text(&args.program)?)?;
    let inputs = given_inputs(args, &program)?;
    let weights: Box<dyn WeightSource> = match (&args.weights, args.random) {
        (Some(path), _) => Box::new(checked_weights(&program, path)?),
        (None, Some(seed)) => Box::new(RandomWeights::new(&program, seed)),
        (None, None) => Box::new(NoWeights),
    };
    let start = Instant::now();
    let mut executor = load(args.device.into(), program, weights.as_ref())?;
    eprintln!("loaded in {:.2} s", start.elapsed().as_secs_f64());
    for note in executor.fallbacks() {
        eprintln!("note: {note}");
    }
    executor.set_profiling(args.profile);
    for (name, tensor) in &inputs {
        executor.bind(name, tensor)?;
    }
    let outputs = run_schedule(executor.as_mut())?;
    if let Some(path) = &args.outputs {
        tensors::write(path, &outputs)?;
    }
    match executor.profile() {
        Some(profile) => print(&Slowest::of(profile).to_string()),
        None => Ok(()),
    }
}

/// The tensors of `--inputs`, and with `--random` noise for every float input that they leave out.
fn given_inputs(args: &Args, program: &Program) -> Result<Vec<(String, HostTensor)>, Error> {
    let mut inputs = match &args.inputs {
        Some(path) => tensors::read(path)?,
        None => Vec::new(),
    };
    if let Some(seed) = args.random {
        let drawn = random_inputs(program, &inputs, seed);
        inputs.extend(drawn);
    }
    Ok(inputs)
}

fn checked_weights(program: &Program, path: &std::path::Path) -> Result<Weights, Error> {
    let weights = Weights::open(path)?;
    weights.check_for(program, &[""])?;
    Ok(weights)
}

/// For programs run without `--weights`.
struct NoWeights;

impl WeightSource for NoWeights {
    fn weight(&self, name: &str, _dtype: reflux_ir::DType) -> Result<HostTensor, WeightError> {
        let why = "give a file or folder with --weights".into();
        Err(WeightError::Unreadable { name: name.to_owned(), why })
    }
}

/// The results of every step, in the program's order.
fn run_schedule(executor: &mut dyn Execute) -> Result<Vec<(String, HostTensor)>, Error> {
    let steps = executor.program().schedule.len();
    let mut outputs = Vec::new();
    for step in 0..steps {
        bind_step(executor, step)?;
        let start = Instant::now();
        let mut results: Vec<_> = executor.step(step)?.into_iter().collect();
        eprintln!("step {step}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        results.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in results {
            outputs.push(if steps == 1 {
                (name.to_string(), value)
            } else {
                (format!("{name}.step{step}"), value)
            });
        }
    }
    Ok(outputs)
}
