//! What an evaluation is asked for, and what is going to be measured: found out, and tried, before any picture is drawn.

use super::journal::Earlier;
use super::networks::{MetricNetwork, NetworkMetric};
use super::plan::{BASE, Plan, PlannedRow, name_of};
use super::prompts::PromptSet;
use super::summary::{Prompt, RowKind};
use crate::pipeline::{DiffusionPipeline, OpenOptions, Request};
use crate::{Error, VERSION};
use reflux_ir::pass::Recipe;
use reflux_models::{ModelFiles, Sizes};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct EvaluationOptions {
    pub files: ModelFiles,
    /// How all rows are opened; its passes are not read.
    pub open: OpenOptions,
    /// What all pictures have in common; its prompts and seed are not read.
    pub request: Request,
    pub prompts: PromptSet,
    /// What to compare with the base, which runs with the default passes alone: names, and passes. A name is a folder's.
    pub configs: Vec<(String, Recipe)>,
    /// Numbers of steps with which to measure the base too. If none are given, one is chosen for each config: the number that takes
    /// the same median time.
    pub fewer_steps: Option<Vec<usize>>,
    /// The ONNX files of metrics that are networks.
    pub networks: BTreeMap<NetworkMetric, PathBuf>,
    /// Where pictures, latents, the journal and `evaluation.json` go.
    pub folder: PathBuf,
    /// Go on with the evaluation that is there.
    pub resume: bool,
}

/// A row that is measured.
pub struct Way {
    pub name: String,
    pub kind: RowKind,
    pub passes: Recipe,
    pub steps: usize,
}

/// What is going to be done.
pub struct Prepared {
    pub plan: Plan,
    pub ways: Vec<Way>,
    pub networks: Vec<MetricNetwork>,
    /// The lossy passes that even the base has, as the model was compiled with them.
    pub compiled_with: Option<String>,
}

/// What is going to be done; passes that were not run on the model before are tried.
pub fn prepared(options: &EvaluationOptions, earlier: &Earlier) -> Result<Prepared, Error> {
    let first = request_of(options, 0, options.request.steps);
    let open = |passes: &Recipe| {
        let open = OpenOptions { passes: passes.clone(), ..options.open.clone() };
        DiffusionPipeline::open_files(options.files.clone(), open)
    };
    let mut base = open(&Recipe::default())?;
    let Sizes { width, height, steps, .. } = base.sizes(&first)?;
    let mut rows = vec![PlannedRow { name: BASE.into(), passes: base.passes().to_string() }];
    for &fewer in options.fewer_steps.iter().flatten() {
        if steps == 1 {
            let message = "the base has a single step, and cannot be measured with fewer; leave out --plain-steps, or give more --steps";
            return Err(Error::Usage(message.into()));
        }
        if fewer == 0 || fewer >= steps {
            return Err(Error::Usage(format!(
                "the base has {steps} steps, and is measured with fewer too: 1 to {}, not {fewer}",
                steps.saturating_sub(1)
            )));
        }
        base.settings(&Request { steps: Some(fewer), ..first.clone() })?;
    }
    if !earlier.has_begun(BASE) {
        base.program(&first)?;
    }
    let way = |name: &str, kind, passes| Way { name: name.to_owned(), kind, passes, steps };
    let mut ways = vec![way(BASE, RowKind::Base, Recipe::default())];
    for (name, passes) in &options.configs {
        let tried = || {
            let mut pipeline = open(passes)?;
            if !earlier.has_begun(name) {
                pipeline.program(&first)?;
            }
            Ok(pipeline.passes().to_string())
        };
        let tried = tried().map_err(|error| Error::Row { name: name.clone(), error: Box::new(error) })?;
        rows.push(PlannedRow { name: name.clone(), passes: tried });
        ways.push(way(name, RowKind::Config, passes.clone()));
    }
    let nets = options.files.family().all_nets().filter(|net| options.files.is_replaced(net));
    let parts = nets.map(|net| (net.name.to_owned(), options.files.weights_path(net)));
    let guidance = options.request.guidance.unwrap_or(base.defaults().guidance);
    let plan = Plan {
        version: VERSION.to_owned(),
        model: base.name().to_owned(),
        parts: parts.collect::<BTreeMap<_, _>>(),
        device: base.device_name().to_owned(),
        dtype: base.dtype(),
        memory: name_of(options.open.memory),
        width,
        height,
        steps,
        guidance: base.config().is_guided().then_some(guidance),
        rows,
        fewer_steps: options.fewer_steps.clone(),
        prompts: options.prompts.prompts.clone(),
    };
    let network = |(metric, path): (&NetworkMetric, &PathBuf)| {
        MetricNetwork::open(*metric, path, [height, width], base.device().first())
    };
    let mut networks = options.networks.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    for network in &mut networks {
        let prompts = options.prompts.prompts.iter().map(|prompt| &*prompt.prompt);
        network.rehearse([height, width], prompts)?;
    }
    Ok(Prepared { plan, ways, networks, compiled_with: base.compiled_lossy_passes()? })
}

/// The request of the picture for the prompt with this number.
pub fn request_of(options: &EvaluationOptions, index: usize, steps: Option<usize>) -> Request {
    let Prompt { prompt, seed } = &options.prompts.prompts[index];
    let common = options.request.clone();
    Request { prompts: vec![prompt.clone()], seed: *seed, steps, ..common }
}
