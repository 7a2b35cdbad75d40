//! `reflux bisect`

use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::heap::KeptHeap;
use crate::cli::input::InputArg;
use crate::cli::number;
use crate::cli::passes::PassArgs;
use crate::cli::testbed::{Runs, Testbed, TestbedArgs};
use crate::pipeline::{Memory, check_fits, settle};
use half::{bf16, f16};
use reflux_ir::pass::{BisectError, Culprit, Exactness, Judged, Pipeline, Probe, bisect as find};
use reflux_ir::{DType, HostTensor, Name, Program, ProgramDiff};
use reflux_models::names;
use reflux_runtime::{RunError, StepResults, distance, load_shared, run_steps};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration. For a model, each check draws a picture;
    /// for the others inputs are random, and so are weights but those of an ONNX file
    input: PathBuf,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    testbed: TestbedArgs,
    /// Largest allowed relative L2 distance between results: of a picture's final latents, or of the worst result of the worst
    /// step. Passes that change rounding are allowed more where rounding alone has a larger effect, as after a quantization,
    /// where it changes codes; exact passes must keep every bit on the processor
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = number::tolerance, allow_negative_numbers = true)]
    tolerance: f64,
    /// Judge lossy passes too, against the input program. Otherwise their results are the reference for the passes after them
    #[arg(long)]
    lossy: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn bisect(args: &Args) -> Result<(), Error> {
    let input = InputArg::of(&args.input)?;
    let recipe = args.passes.recipe()?.map(|recipe| input.meant(recipe)).unwrap_or_default();
    let device = args.testbed.device();
    let mut pipeline = recipe.pipeline(&input.default(None, Some(device))?);
    let info = device.probe().map_err(RunError::from)?;
    settle(&mut pipeline, device, &info).iter().for_each(|warning| say(format_args!("warning: {warning}")));
    let _heap = KeptHeap::on(device);
    let mut subject = Testbed::open(&args.input, &input, &args.testbed, &mut pipeline)?;
    let judged = if args.lossy { Judged::All } else { Judged::Lossless };
    let mut known = ResultCache::default();
    let mut trail = Vec::new();
    let (program, timesteps) = (subject.program.clone(), subject.timesteps.clone());
    let mut check = |probe: Probe| -> Result<bool, Error> {
        let found = match probe.passes {
            // Two runs of the input program show whether results can be compared at all.
            0 => subject.results(probe.program, Start::AsGiven)?,
            _ => known.results(probe.program, Start::AsGiven, &mut subject)?,
        };
        let expected = known.results(probe.reference, Start::AsGiven, &mut subject)?;
        let mut line = Check::of(&probe, distance(&found, &expected), args.tolerance);
        if probe.promise == Exactness::Exact && device.keeps_bits() {
            line.allowed = 0.0;
        } else if probe.promise == Exactness::Reassociating && !line.is_within() {
            // Only now, as it takes another run.
            let nudged = known.results(probe.reference, Start::Nudged, &mut subject)?;
            line.rounding = Some(distance(&nudged, &expected));
        }
        let is_within = line.is_within();
        if probe.passes > 0 {
            say(&line);
            trail.push(line);
        }
        Ok(is_within)
    };
    let found = find(&program, &pipeline, timesteps.as_deref(), judged, &mut check);
    let culprit = match found {
        Ok(culprit) => Some(culprit),
        Err(BisectError::AllPass) => None,
        Err(BisectError::GivenFails) => {
            let message = "two runs of the unchanged program differ, so nothing can be bisected";
            return Err(Error::Usage(message.into()));
        }
        Err(BisectError::Driver(error)) => return Err(error.into()),
        Err(BisectError::Check(error)) => return Err(error),
    };
    let lossy = not_judged(&pipeline, judged);
    if args.json {
        let json = summary(culprit.as_ref(), &trail, &lossy, args.tolerance);
        return print(&format!("{json:#}\n"));
    }
    print(&match &culprit {
        Some(culprit) => describe(culprit),
        None => all_hold(args.tolerance, &lossy),
    })
}

/// Lossy passes, which are not judged.
fn not_judged(pipeline: &Pipeline, judged: Judged) -> Vec<String> {
    let is_lossy = |index: &usize| {
        judged == Judged::Lossless
            && pipeline.passes().nth(*index).is_some_and(|pass| pass.exactness() == Exactness::Lossy)
    };
    (0..pipeline.passes().len()).filter(is_lossy).map(|index| pipeline.text_of(index)).collect()
}

fn all_hold(tolerance: f64, lossy: &[String]) -> String {
    let mut text = format!("every pass keeps results within what it promises (tolerance {tolerance:e})\n");
    if !lossy.is_empty() {
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "not judged, since they are lossy: {}; --lossy judges them too", lossy.join(", "));
    }
    text
}

impl Testbed {
    /// What `program` gives.
    fn results(&mut self, program: &Program, start: Start) -> Result<StepResults, Error> {
        match &mut self.runs {
            Runs::Picture(replay) => {
                let noise = start.of(&replay.noise, program);
                let latents = replay.latents(program, noise)?;
                Ok(vec![HashMap::from([(Name::from(names::LATENTS), latents)])])
            }
            Runs::Steps { device, weights, inputs, smaller, .. } => {
                check_fits(&program.name, Memory::Resident.of(program, *device), *device, smaller)?;
                let mut executor = load_shared(device.running(program)?, program.clone(), weights.clone())?;
                let inputs: Vec<_> =
                    inputs.iter().map(|(name, input)| (name.clone(), start.of(input, program))).collect();
                Ok(run_steps(executor.as_mut(), &inputs)?)
            }
        }
    }
}

/// The inputs of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Start {
    AsGiven,
    /// Inputs changed by about as much as rounding changes values. The effect on the results is about that of two programs that
    /// differ only by rounding.
    Nudged,
}

impl Start {
    fn of(self, input: &HostTensor, program: &Program) -> HostTensor {
        if self == Self::AsGiven || !input.dtype.is_float() {
            return input.clone();
        }
        let by = rounding(program);
        let nudged = input.to_f32().into_iter().enumerate();
        let nudged = nudged.map(|(at, value)| value * if at % 2 == 0 { 1.0 + by } else { 1.0 - by });
        HostTensor::from_f32(input.shape.clone(), &nudged.collect::<Vec<_>>()).cast(input.dtype)
    }
}

/// The relative size of rounding in `program`: in f32 that of a sum of thousands in another order, in shorter types that of
/// a single value.
fn rounding(program: &Program) -> f32 {
    let of_dtype = |dtype: DType| match dtype {
        DType::BF16 => bf16::EPSILON.to_f32(),
        DType::F16 => f16::EPSILON.to_f32(),
        DType::F32 | DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
            8.0 * f32::EPSILON
        }
    };
    let values = program.variants.values().flat_map(|graph| graph.ids().map(|id| graph[id].fact.dtype));
    values.map(of_dtype).fold(0.0, f32::max)
}

/// Results of programs that have run, since the same one is needed repeatedly.
#[derive(Default)]
struct ResultCache {
    by_hash: HashMap<(u64, Start), StepResults>,
}

impl ResultCache {
    fn results(
        &mut self,
        program: &Program,
        start: Start,
        subject: &mut Testbed,
    ) -> Result<StepResults, Error> {
        let key = (program.structural_hash(), start);
        if let Some(known) = self.by_hash.get(&key) {
            return Ok(known.clone());
        }
        let results = subject.results(program, start)?;
        self.by_hash.insert(key, results.clone());
        Ok(results)
    }
}

/// The outcome of a check.
struct Check {
    passes: usize,
    last: String,
    held: Option<(String, usize)>,
    distance: f64,
    allowed: f64,
    /// The effect of rounding alone on the results of the reference program, if it was measured.
    rounding: Option<f64>,
}

impl Check {
    /// Both programs differ from the exact result by rounding, and by chance more.
    const ROUNDINGS: f64 = 4.0;

    fn of(probe: &Probe, distance: f64, allowed: f64) -> Self {
        let held = probe.held.map(|(rule, count)| (rule.to_owned(), count));
        let last = probe.last.unwrap_or_default().to_owned();
        Self { passes: probe.passes, last, held, distance, allowed, rounding: None }
    }

    /// NaN and infinity are beyond any tolerance.
    fn is_within(&self) -> bool {
        let by_rounding = self.rounding.filter(|rounding| rounding.is_finite()).unwrap_or(0.0);
        self.distance <= self.allowed.max(Self::ROUNDINGS * by_rounding)
    }

    fn json(&self) -> Value {
        // JSON has no infinity.
        let distance = self.distance.is_finite().then_some(self.distance);
        json!({
            "passes": self.passes,
            "last": self.last,
            "rule": self.held.as_ref().map(|(rule, _)| rule),
            "applications": self.held.as_ref().map(|(_, count)| count),
            "distance": distance,
            "allowed": self.allowed,
            "rounding": self.rounding,
        })
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_within() { "within" } else { "beyond" };
        write!(f, "after pass {}, {}", self.passes, self.last)?;
        if let Some((rule, count)) = &self.held {
            write!(f, ", {rule} {count} ×")?;
        }
        write!(f, ": {:.1e}, {verdict} ", self.distance)?;
        match self.rounding {
            None => write!(f, "{:.0e}", self.allowed),
            Some(rounding) => {
                write!(f, "{} times the effect of rounding alone, {rounding:.1e}", Self::ROUNDINGS)
            }
        }
    }
}

fn summary(culprit: Option<&Culprit>, trail: &[Check], lossy: &[String], tolerance: f64) -> Value {
    let culprit = culprit.map(|culprit| {
        let application = culprit.application.as_ref().map(|application| {
            json!({
                "rule": application.rule,
                "number": application.number,
                "of": application.of,
                "place": application.place,
            })
        });
        json!({ "number": culprit.number, "pass": culprit.pass, "application": application })
    });
    let checks: Vec<Value> = trail.iter().map(Check::json).collect();
    json!({ "culprit": culprit, "tolerance": tolerance, "not_judged": lossy, "checks": checks })
}

fn describe(culprit: &Culprit) -> String {
    let mut text = format!("pass {}, `{}`, breaks the results", culprit.number, culprit.pass);
    // Writing to a string cannot fail.
    match &culprit.application {
        None => text += ", but no single rule of it does\n",
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
