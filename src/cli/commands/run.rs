//! `reflux run`

use crate::Error;
use crate::cli::console::{print, say, say_all};
use crate::cli::device::DeviceArg;
use crate::cli::heap::KeptHeap;
use crate::cli::input::{parse, read_onnx};
use crate::cli::onnx::OnnxArgs;
use crate::cli::seed::SeedArg;
use crate::cli::slowest::Slowest;
use crate::cli::steps::random_inputs;
use crate::cli::text_file::read_text;
use crate::files::OutputFile;
use crate::pipeline::{Memory, check_fits};
use crate::tensors;
use reflux_ir::pass::counted;
use reflux_ir::{Advice, HostTensor, NoWeights, Program, WeightSource, verify};
use reflux_models::onnx::{OnnxWeights, is_onnx};
use reflux_models::weights::{RandomWeights, Weights};
use reflux_runtime::{Device, Execute, RunError, load_shared};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    /// A program in the format that `reflux ir` prints, or an ONNX file, which has its own weights
    program: PathBuf,
    /// A safetensors file with a tensor for each input of the program
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Where to write the results; with several steps they are named NAME.step0, NAME.step1, …
    #[arg(long, value_name = "FILE")]
    outputs: Option<PathBuf>,
    /// The weights of the program
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Draw weights and inputs that are not given at random from this seed, to measure a network without its checkpoint
    #[arg(long, value_name = "SEED", allow_negative_numbers = true)]
    random: Option<SeedArg>,
    #[command(flatten)]
    onnx: OnnxArgs,
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Measure every op and print the slowest, steps first
    #[arg(long)]
    profile: bool,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let mut output = args.outputs.as_deref().map(OutputFile::binary).transpose()?;
    if let Some(output) = &output {
        let given = [&args.inputs, &args.weights].into_iter().flatten().map(PathBuf::as_path);
        output.refuse_inputs(given.chain([args.program.as_path()]))?;
    }
    let random = args.random.map(SeedArg::number);
    let (program, own) = read(args)?;
    check_memory(&program, args.device.into())?;
    let inputs = given_inputs(args, random, &program)?;
    let weights: Arc<dyn WeightSource> = match (own, &args.weights, random) {
        (Some(own), ..) => Arc::new(own),
        (None, Some(path), _) => Arc::new(checked_weights(&program, path)?),
        (None, None, Some(seed)) => Arc::new(RandomWeights::new(&program, seed)),
        (None, None, None) => {
            check_needs_none(&program)?;
            Arc::new(NoWeights)
        }
    };
    check_given(&program, &inputs)?;
    let start = Instant::now();
    let device = args.device.into();
    let heap = KeptHeap::on(device);
    let mut executor = load_shared(device, program, weights)?;
    drop(heap);
    say(format_args!("loaded in {:.2} s", start.elapsed().as_secs_f64()));
    for note in executor.fallbacks() {
        say(format_args!("note: {note}"));
    }
    executor.set_profiling(args.profile);
    for (name, tensor) in &inputs {
        executor.bind(name, tensor)?;
    }
    let outputs = run_schedule(executor.as_mut())?;
    if let Some(output) = &mut output {
        tensors::write(output, &outputs)?;
    }
    match executor.profile().map(Slowest::of) {
        // Tensors and a table cannot share standard output.
        Some(slowest) if output.is_some_and(|output| output.is_stdout()) => say_all(slowest),
        Some(slowest) => print(&slowest.to_string())?,
        None => {}
    }
    Ok(())
}

/// The program, and of an ONNX file its weights.
fn read(args: &Args) -> Result<(Program, Option<OnnxWeights>), Error> {
    let path = args.program.display();
    if !is_onnx(&args.program) {
        if let Some(option) = args.onnx.given() {
            return Err(Error::Usage(format!(
                "{option} is for ONNX files; {path} is a program, leave it out"
            )));
        }
        return Ok((parse(&args.program, &read_text(&args.program)?)?, None));
    }
    if args.weights.is_some() {
        return Err(Error::Usage(format!("--weights: {path} has its own weights; leave it out")));
    }
    let (program, weights) = read_onnx(&args.program, &args.onnx)?;
    Ok((program, Some(weights)))
}

/// Refuses a program that cannot fit, before any input or weight is made.
fn check_memory(program: &Program, device: Device) -> Result<(), Error> {
    verify(program).map_err(RunError::from)?;
    let inputs = program.inputs.iter().map(|input| input.fact.bytes()).fold(0, u64::saturating_add);
    let needed = Memory::Resident.of(program, device).max(inputs);
    check_fits(&program.name, needed, device, &[Advice::SmallerProgram])
}

/// The tensors of `--inputs`, and with `--random` noise for float inputs that are not in them.
fn given_inputs(
    args: &Args,
    random: Option<u64>,
    program: &Program,
) -> Result<Vec<(String, HostTensor)>, Error> {
    let mut inputs = match &args.inputs {
        Some(path) => tensors::read(path)?,
        None => Vec::new(),
    };
    if let Some(seed) = random {
        let drawn = random_inputs(program, &inputs, seed);
        inputs.extend(drawn);
    }
    Ok(inputs)
}

/// Refuses a run with missing inputs, before anything is loaded.
fn check_given(program: &Program, inputs: &[(String, HostTensor)]) -> Result<(), Error> {
    let is_given = |name: &str| inputs.iter().any(|(given, _)| *given == *name);
    let lacking: Vec<String> = program
        .inputs
        .iter()
        .filter(|&input| program.step_input() != Some(input) && !is_given(&input.name))
        .map(|input| format!("`{}` {}", input.name, input.fact))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the program has inputs that are not given: {}; give them as tensors with these names with --inputs FILE, or draw \
         them with --random SEED",
        lacking.join(", ")
    )))
}

/// Refuses to run a program that reads weights if none are given.
fn check_needs_none(program: &Program) -> Result<(), Error> {
    let weights = program.weights();
    let Some((first, fact)) = weights.first() else { return Ok(()) };
    Err(Error::Usage(format!(
        "the program reads {}, the first of which is `{first}` {fact}; give their file or folder with --weights, or draw them with \
         --random SEED",
        counted(weights.len(), "weight")
    )))
}

fn checked_weights(program: &Program, path: &std::path::Path) -> Result<Weights, Error> {
    let weights = Weights::open(path)?;
    weights.check_for(program, &[""])?;
    Ok(weights)
}

/// The results of every step, in the program's order.
fn run_schedule(executor: &mut dyn Execute) -> Result<Vec<(String, HostTensor)>, Error> {
    let steps = executor.program().schedule.len();
    let mut outputs = Vec::new();
    for step in 0..steps {
        let start = Instant::now();
        let mut results: Vec<_> = executor.step(step)?.into_iter().collect();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let scheduled = &executor.program().schedule[step];
        let chosen = executor.ran().filter(|ran| *ran != scheduled);
        let chosen = chosen.map(|ran| format!(", `{scheduled}` chose `{ran}`")).unwrap_or_default();
        say(format_args!("step {step}: {milliseconds:.1} ms{chosen}"));
        results.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in results {
            if let Some(at) = value.to_f32().iter().position(|number| !number.is_finite()) {
                return Err(Error::Usage(format!(
                    "`{name}` has numbers that are not finite (NaN or infinity) in step {step}, first at index {at}; they \
                     come from the inputs, the weights or the program's own attributes"
                )));
            }
            outputs.push(if steps == 1 {
                (name.to_string(), value)
            } else {
                (format!("{name}.step{step}"), value)
            });
        }
    }
    Ok(outputs)
}
