//! `reflux compare`

use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::heap::KeptHeap;
use crate::cli::input::InputArg;
use crate::cli::passes::described;
use crate::cli::testbed::{Testbed, TestbedArgs};
use crate::comparison::{Compared, Side, compare as compare_programs, several_devices};
use crate::pipeline::{Memory, check_fits, registry, settle};
use reflux_ir::pass::{Driver, Pass, Pipeline, Property, Recipe, Trace};
use reflux_ir::{Advice, ModulePath, Program, WeightSource};
use reflux_passes::{SEPARATE_LINEARS, UNFUSED, UNPACKED, UNSHARDED};
use reflux_runtime::{Device, DeviceInfo, MachineOf, RunError};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration: what is taken as right. For a model,
    /// both programs draw the same picture; for the others inputs are random, and so are weights but those of an ONNX file
    a: PathBuf,
    /// What to compare with it, given in the same way, or a compiled model of the same network [default: A with other passes]
    b: Option<PathBuf>,
    /// Passes to run on A, around the default ones as in `generate`; on an IR file these alone
    #[arg(long, value_name = "TEXT")]
    passes_a: Option<String>,
    /// Passes to run on B, in the same way
    #[arg(long, value_name = "TEXT")]
    passes_b: Option<String>,
    /// Only these modules, and what is in them, as in single_transformer_blocks.7; may be repeated. The values of all modules of a large
    /// model take more memory than there is
    #[arg(long, value_name = "MODULE")]
    within: Vec<String>,
    /// List every block's modules, and not those that are the same but for the number of their block together
    #[arg(long)]
    each: bool,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    testbed: TestbedArgs,
}

pub fn compare(args: &Args) -> Result<(), Error> {
    let device = args.testbed.device();
    let info = device.probe().map_err(RunError::from)?;
    let _heap = KeptHeap::on(device);
    let input = InputArg::of(&args.a)?;
    let mut passes = asked("A", &input, &args.passes_a, device)?;
    // What is asked of B is looked at before A is opened, for which a model encodes a prompt.
    let other = args.b.as_deref().map(InputArg::of).transpose()?;
    let mut passes_b = asked("B", other.as_ref().unwrap_or(&input), &args.passes_b, device)?;
    let file = other.as_ref().filter(|other| matches!(other, InputArg::File(_)));
    let file =
        file.map(|file| file.program(None, &args.testbed.sizes)).transpose()?.map(|(program, _)| program);
    if file.as_ref().is_some_and(|program| program.devices().is_some()) {
        return Err(several_devices("B"));
    }
    let mut bed = Testbed::open(&args.a, &input, &args.testbed, &mut passes)?;
    let a = optimized(bed.program.clone(), passes, &bed, args, &info)?;
    let b = match &other {
        Some(other) if file.is_none() => other_network(other, passes_b, &bed, args, &info)?,
        _ => {
            bed.settle_loras(&mut passes_b)?;
            optimized(file.unwrap_or_else(|| bed.program.clone()), passes_b, &bed, args, &info)?
        }
    };
    let named = [a.described(), b.described()];
    say(format_args!("A: {}\nB: {}", named[0], named[1]));
    let MachineOf { machine, .. } = device.machine(&info);
    let check_memory = |programs: &[&Program]| {
        let needed = programs.iter().map(|program| Memory::Resident.of(program, device));
        let total = needed.fold(0, u64::saturating_add);
        check_fits(
            "A, B and their modules by themselves",
            total,
            device,
            &[Advice::FewerModules, Advice::SmallerPicture],
        )
    };
    let compared = Compared {
        sides: [a.side(), b.side()],
        weights: [&*a.weights, &*b.weights],
        device,
        machine,
        inputs: bed.inputs(),
        within: args.within.iter().map(ModulePath::from).collect(),
        check_memory: &check_memory,
    };
    let found = compare_programs(&compared, &mut |what| say(format_args!("{what} …")))?.named(named);
    print(&if args.json { found.json() } else { found.table(args.each).to_string() })
}

/// The passes that `side` is to go through, or has gone through, if it is compiled.
///
/// # Errors
/// If there is no such pass, or if one divides it among several devices.
fn asked(side: &str, input: &InputArg, passes: &Option<String>, device: Device) -> Result<Pipeline, Error> {
    let pipeline = match (input.compiled(), passes) {
        (Some(compiled), Some(_)) => return Err(compiled.no_passes().into()),
        (Some(compiled), None) => compiled.passes()?,
        (None, passes) => {
            let recipe = passes.as_ref().map(|text| Recipe::parse(text, &registry())).transpose()?;
            input.meant(recipe.unwrap_or_default()).pipeline(&input.default(None, Some(device))?)
        }
    };
    if pipeline.passes().any(|pass| pass.ends().contains(&UNSHARDED)) {
        return Err(several_devices(side));
    }
    Ok(pipeline)
}

/// A program after its passes, and how it came about.
struct Optimized {
    passes: Pipeline,
    trace: Trace,
    weights: Arc<dyn WeightSource>,
}

/// What holds of programs whose ops are as networks have them.
const UNMERGED: [Property; 3] = [SEPARATE_LINEARS, UNFUSED, UNPACKED];

impl Optimized {
    fn side(&self) -> Side<'_> {
        let merges = |pass: &dyn Pass| pass.ends().iter().any(|property| UNMERGED.contains(property));
        let first = self.passes.passes().position(merges);
        // The passes of a compiled model ran when it was compiled.
        let is_traced = self.passes.passes().len() == self.trace.passes.len();
        Side::new(&self.trace, is_traced.then(|| first.unwrap_or(usize::MAX)))
    }

    fn described(&self) -> String {
        described(&self.trace.input, &self.passes.to_string())
    }
}

fn optimized(
    program: Program,
    mut pipeline: Pipeline,
    bed: &Testbed,
    args: &Args,
    info: &DeviceInfo,
) -> Result<Optimized, Error> {
    settle(&mut pipeline, args.testbed.device(), info)
        .iter()
        .for_each(|warning| say(format_args!("warning: {warning}")));
    let mut trace = Trace::of(program.clone());
    let timesteps = bed.timesteps.as_deref();
    Driver { timesteps, trace: Some(&mut trace), ..Driver::default() }.run(program, &pipeline)?;
    let weights = bed.weights(trace.before(trace.passes.len()));
    Ok(Optimized { passes: pipeline, trace, weights })
}

/// B with weights of its own.
fn other_network(
    input: &InputArg,
    mut passes: Pipeline,
    bed: &Testbed,
    args: &Args,
    info: &DeviceInfo,
) -> Result<Optimized, Error> {
    let path = args.b.as_deref().expect("it is given");
    match (input, input.compiled()) {
        (InputArg::Model(model), Some(compiled)) => {
            let sizes = model.sizes(&args.testbed.sizes)?;
            let Some(program) = compiled.program(&sizes, bed.timesteps.as_deref())? else {
                let path = path.display();
                return Err(Error::Usage(format!(
                    "{path} is not compiled for these sizes and steps; give --width, --height and --steps for which it is, or compile it for \
                     these with `reflux compile --model {path} --size WIDTHxHEIGHT`"
                )));
            };
            Ok(Optimized { passes, trace: Trace::of(program), weights: compiled.weights() })
        }
        _ if bed.has_random_weights() => {
            let message = "A has random weights and B its own, so that their results have nothing in common; give A's by --weights, or \
                           let the model be A";
            Err(Error::Usage(message.into()))
        }
        _ => {
            let own = Testbed::open(path, input, &args.testbed, &mut passes)?;
            optimized(own.program.clone(), passes, &own, args, info)
        }
    }
}
