//! `reflux bisect`

use super::DeviceArg;
use super::compare::{Results, distance};
use super::input::Input;
use super::lowering::SizeArgs;
use super::passes::PassArgs;
use super::print;
use super::steps::{random_inputs, run_steps};
use crate::Error;
use crate::pipeline::lossless;
use reflux_ir::pass::{BisectError, Culprit, bisect as find};
use reflux_ir::{HostTensor, Program, ProgramDiff, WeightSource};
use reflux_models::Net;
use reflux_models::weights::{RandomWeights, Weights};
use reflux_runtime::{Device, load};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// An IR file, a FLUX.1 model in diffusers layout, or a built-in configuration
    input: PathBuf,
    #[command(flatten)]
    passes: PassArgs,
    /// The weights that the program names [default: the model's, if the input is one]
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Draw inputs, and weights if none are given, from this seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// How far results may be from those of the program as it is given: relative L2, of the worst result of the worst step
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    tolerance: f64,
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceArg,
    #[command(flatten)]
    sizes: SizeArgs,
}

pub fn bisect(args: &Args) -> Result<(), Error> {
    let input = Input::of(&args.input)?;
    input.refuse_sizes(&args.sizes)?;
    let (program, timesteps) = input.program(Net::Transformer, &args.sizes)?;
    let recipe = args.passes.recipe()?.unwrap_or_default();
    // On an IR file run just the passes asked for, as `opt` does.
    let recipe = if matches!(input, Input::File(_)) && !recipe.is_empty() { recipe.only() } else { recipe };
    let pipeline = recipe.pipeline(&lossless(Net::Transformer, args.device.into()));
    let folder = args.input.join(Net::Transformer.folder());
    let path = args.weights.clone().or_else(|| folder.is_dir().then_some(folder));
    let weights: Box<dyn WeightSource> = match path {
        Some(path) => Box::new(Weights::open(&path)?),
        None => Box::new(RandomWeights::new(&program, args.seed)),
    };
    let inputs = random_inputs(&program, &[], args.seed);
    let runner = Runner { device: args.device.into(), weights: weights.as_ref(), inputs };
    let expected = runner.run(&program)?;
    let mut check = |candidate: &Program| -> Result<bool, Error> {
        let distance = distance(&runner.run(candidate)?, &expected);
        eprintln!("{} ops: {distance:.2e} from the program as given", candidate.op_count());
        Ok(distance <= args.tolerance)
    };
    match find(&program, &pipeline, timesteps.as_deref(), &mut check) {
        Ok(culprit) => print(&describe(&culprit)),
        Err(BisectError::AllPass) => print(&format!(
            "after all passes, results are within {:e} of the program as given\n",
            args.tolerance
        )),
        Err(BisectError::GivenFails) => {
            Err(Error::Usage("two runs of the program as given differ; nothing can be bisected".into()))
        }
        Err(BisectError::Driver(error)) => Err(error.into()),
        Err(BisectError::Check(error)) => Err(error),
    }
}

struct Runner<'a> {
    device: Device,
    weights: &'a dyn WeightSource,
    inputs: Vec<(String, HostTensor)>,
}

impl Runner<'_> {
    fn run(&self, program: &Program) -> Result<Results, Error> {
        let mut executor = load(self.device, program.clone(), self.weights)?;
        Ok(run_steps(executor.as_mut(), &self.inputs)?)
    }
}

fn describe(culprit: &Culprit) -> String {
    let mut text = format!("pass {}, `{}`, breaks it", culprit.number, culprit.pass);
    // Writing to a string cannot fail.
    match &culprit.application {
        None => text += ", and none of its rules alone\n",
        Some(application) => {
            let _ = writeln!(
                text,
                "\nrule {}, application {} of {}: {}",
                application.rule, application.number, application.of, application.place
            );
        }
    }
    let diff = ProgramDiff::new(["without it", "with it"], [&culprit.before, &culprit.after]);
    let _ = write!(text, "{diff}");
    text
}
