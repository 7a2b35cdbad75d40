//! Finding a schedule of computed and reused steps for a checkpoint.

mod candidate;
mod goal;
mod journal;
mod predictor;
mod rehearsal;
mod search;
mod trials;

pub use goal::{Goal, Objective};
pub use predictor::PREDICTORS;

use super::compiled::Compiled;
use super::defaults::lossless;
use super::diffusion::DiffusionPipeline;
use super::options::OpenOptions;
use super::registry::registry;
use super::report::{Event, Record};
use super::request::Request;
use crate::{Error, VERSION};
use journal::Journal;
use predictor::Predictor;
use reflux_ir::pass::{ONE_VARIANT, Pipeline, Recipe};
use reflux_models::{ModelFiles, Role};
use reflux_passes::Steer;
use rehearsal::{Rehearsal, Subject};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;
use trials::Trials;

/// What to search for, and how.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    pub goal: Goal,
    pub objective: Objective,
    /// The methods of `cache` whose predictors are tried; all that can be if there are none.
    pub methods: Vec<String>,
    /// Changes that annealing tries.
    pub iterations: usize,
    /// Of the search; the pictures have their own.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Tuned {
    pub version: &'static str,
    pub model: String,
    pub device: String,
    pub width: usize,
    pub height: usize,
    pub steps: usize,
    /// Steps that compute.
    pub computed: usize,
    /// Prompts and seeds that it was found with.
    pub pictures: usize,
    pub objective: Objective,
    /// All passes, as a configuration that `--passes-config` reads.
    #[serde(skip)]
    pub config: String,
    pub found: Outcome,
    /// As many computed steps, as far from each other as they can be, with what was found to be the best predictor for these.
    pub even: Outcome,
    /// Candidates that were tried, and those that an earlier search had tried.
    pub tried: usize,
    pub known: usize,
    /// Steps of all candidates that ran, and that were taken from other candidates.
    pub steps_run: usize,
    pub steps_saved: usize,
    pub seconds: f64,
    pub warnings: Vec<String>,
}

/// How near a schedule's pictures are to those where every step computes.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub pass: String,
    /// By the objective.
    pub error: f64,
    /// Median over pictures, in dB.
    pub psnr: f64,
}

/// How a search gets on.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    pub computed: usize,
    pub tried: usize,
    /// About how many will be.
    pub of: usize,
    /// The least error so far.
    pub error: f64,
}

/// Finds a schedule for the model of `files`, whose pictures are those of `requests`, one each and of one size. What was tried is kept
/// in `journal`, and not tried again if `resume` is set. What happens is told to `observe` and `progress`.
///
/// # Errors
/// If a picture cannot be drawn, or there is nothing to search.
pub fn tune(
    files: ModelFiles,
    options: OpenOptions,
    requests: &[Request],
    tune: &TuneOptions,
    journal: (&Path, bool),
    observe: &mut dyn FnMut(Event),
    progress: &mut dyn FnMut(Tried),
) -> Result<Tuned, Error> {
    let start = Instant::now();
    Compiled::refuse(&files, "tune")?;
    let predictors = Predictor::named(&tune.methods)?;
    let recipe = options.passes.clone();
    refuse_caches(&recipe)?;
    let mut steer = Pipeline::new();
    steer.push(Steer);
    let passes = recipe.clone().and(steer);
    let mut pipeline = DiffusionPipeline::open_files(files, OpenOptions { passes, ..options })?;
    let mut record = Record::new(observe);
    let resolve = |request: &Request| request.resolve(pipeline.defaults(), pipeline.config());
    let resolved = requests.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
    let first = resolved.first().ok_or_else(|| Error::Usage("there is no picture to tune on".into()))?;
    if resolved.iter().any(|request| request.sizes() != first.sizes()) {
        let message = "schedules are compared on pictures of one size and one number of steps; leave out those that differ";
        return Err(Error::Usage(message.into()));
    }
    let (width, height, steps) = (first.width, first.height, first.steps);
    let goals = tune.goal.computed(steps)?;
    let schedule = first.schedule(pipeline.config())?;
    pipeline.networks().run_at(Some(&schedule));
    let mut subjects = Vec::with_capacity(resolved.len());
    for request in resolved {
        let begun = pipeline.begin(&request, &mut record)?;
        subjects.push(Subject { request, begun });
    }
    let settings = settings(&pipeline, &recipe, requests, tune, [width, height, steps]);
    let journal = Journal::open(journal.0, &settings, journal.1)?;
    let rehearsal = Rehearsal::new(&mut pipeline, subjects, schedule, &predictors, &mut record)?;
    let known = journal.len();
    let mut trials = Trials { rehearsal, journal, record, tune, progress, computed: 0, tried: 0 };
    let (found, even) = trials.reach(goals)?;
    let [found, even] = [trials.outcome(&found)?, trials.outcome(&even)?];
    let Trials { rehearsal, record, computed, tried, .. } = trials;
    let (steps_run, steps_saved) = (rehearsal.ran, rehearsal.saved);
    let (_, warnings) = record.finish();
    let cache = Pipeline::parse(&found.pass, &registry())?;
    Ok(Tuned {
        version: VERSION,
        model: pipeline.name().to_owned(),
        device: pipeline.device().to_string(),
        width,
        height,
        steps,
        computed,
        pictures: requests.len(),
        objective: tune.objective,
        config: config(recipe, cache, &pipeline),
        found,
        even,
        tried,
        known,
        steps_run,
        steps_saved,
        seconds: start.elapsed().as_secs_f64(),
        warnings,
    })
}

/// Refuses passes that reuse already.
fn refuse_caches(recipe: &Recipe) -> Result<(), Error> {
    let asked = recipe.pipeline(&Pipeline::new());
    match asked.passes().find(|pass| pass.ends().contains(&ONE_VARIANT)) {
        None => Ok(()),
        Some(pass) => Err(Error::Usage(format!(
            "`{}` is what is searched for; leave it out of the passes",
            pass.name()
        ))),
    }
}

/// All that a candidate's error depends on.
fn settings(
    pipeline: &DiffusionPipeline,
    recipe: &Recipe,
    requests: &[Request],
    tune: &TuneOptions,
    sizes: [usize; 3],
) -> Map<String, Value> {
    let pictures: Vec<_> = requests.iter().map(|request| json!([request.prompts[0], request.seed])).collect();
    let [width, height, steps] = sizes;
    let all = json!({
        "reflux": VERSION,
        "model": pipeline.name(),
        "device": pipeline.device(),
        "dtype": pipeline.dtype().to_string(),
        "passes": recipe.pipeline(&Pipeline::new()).to_string(),
        "size": format!("{width}x{height}"),
        "steps": steps,
        "guidance": requests[0].guidance,
        "objective": tune.objective.to_string(),
        "seed": tune.seed,
        "pictures": pictures,
    });
    let Value::Object(all) = all else { unreachable!("it is written as an object") };
    all
}

/// A configuration of `recipe` and `cache`.
fn config(recipe: Recipe, cache: Pipeline, pipeline: &DiffusionPipeline) -> String {
    let (key, passes) = match recipe.listed() {
        Some(mut listed) => {
            listed.append(cache);
            ("passes", listed)
        }
        None => {
            let defaults = lossless(Role::Denoiser, Some(pipeline.device()));
            ("passes_only", recipe.and(cache).pipeline(&defaults))
        }
    };
    format!("version = 1\n{key} = {}\n", Value::String(passes.to_string()))
}
