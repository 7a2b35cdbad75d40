//! `reflux eval`

mod configs;
mod prompts;
mod table;

use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::drawing::DrawArgs;
use crate::cli::heap::KeptHeap;
use crate::cli::number;
use crate::cli::parts::PartArgs;
use crate::cli::progress::Progress;
use crate::cli::seed::SeedArg;
use crate::evaluation::{EvaluationOptions, NetworkMetric, Progressed, Row, evaluate};
use crate::pipeline::bundled_model;
use reflux_models::ModelFiles;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(mut_arg("steps", |arg| arg.help("Denoising steps of the base and the configs [default: the model's]")))]
pub struct Args {
    /// A model folder in diffusers layout, or an id in the Hugging Face Hub's local cache [default: the bundled model]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// A way to run the model that is compared with the base, which has the default passes alone: a name, and passes as --passes
    /// takes them, as in 'fora3=cache(fora,interval=3)'; may be repeated
    #[arg(long = "config", value_name = "NAME=PASSES")]
    configs: Vec<String>,
    /// The same with a file as --passes-config takes it; may be repeated. These come after those of --config
    #[arg(long = "config-file", value_name = "NAME=FILE")]
    config_files: Vec<String>,
    /// Measure the base with N steps too; may be repeated [default: for each config, as many as take the same time]
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true)]
    plain_steps: Vec<usize>,
    /// What to draw: `drawbench`, 200 prompts; `bundled`, the bundled model's 200, for which is told whether pictures show what is
    /// asked for; or a file as generate's --prompts takes it, with `prompt` and `seed` [default: bundled for the bundled model, else
    /// drawbench]
    #[arg(long, value_name = "drawbench|bundled|FILE")]
    prompts: Option<PathBuf>,
    /// Draw only the first N prompts
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true)]
    limit: Option<usize>,
    /// Seed of the first prompt's noise, the next one for each further; prompts that come with seeds keep theirs [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<SeedArg>,
    #[command(flatten)]
    draw: DrawArgs,
    /// The folder to fill, a new or an empty one: pictures, the base's latents, a journal, and what was found, evaluation.json
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the evaluation in that folder where it stopped
    #[arg(long)]
    resume: bool,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    networks: NetworkArgs,
}

/// Metrics that are networks.
#[derive(clap::Args)]
#[command(next_help_heading = "Metrics that are networks, as ONNX files")]
struct NetworkArgs {
    /// LPIPS: of the base's picture and another, as `lpips.LPIPS` exports it
    #[arg(long, value_name = "FILE.onnx")]
    lpips: Option<PathBuf>,
    /// CLIP score: of a picture and its prompt, as transformers' `CLIPModel` exports it, with its tokenizer's files beside it
    #[arg(long, value_name = "FILE.onnx")]
    clip_score: Option<PathBuf>,
    /// ARNIQA: of a picture, as torchmetrics' or the original exports it
    #[arg(long, value_name = "FILE.onnx")]
    arniqa: Option<PathBuf>,
    /// ImageReward: of a picture and its prompt, with BERT's tokenizer's files beside it
    #[arg(long, value_name = "FILE.onnx")]
    image_reward: Option<PathBuf>,
}

impl NetworkArgs {
    fn files(&self) -> BTreeMap<NetworkMetric, PathBuf> {
        let file = |metric| match metric {
            NetworkMetric::Lpips => self.lpips.clone(),
            NetworkMetric::ClipScore => self.clip_score.clone(),
            NetworkMetric::Arniqa => self.arniqa.clone(),
            NetworkMetric::ImageReward => self.image_reward.clone(),
        };
        NetworkMetric::ALL.into_iter().filter_map(|metric| Some((metric, file(metric)?))).collect()
    }
}

pub fn eval(args: &Args) -> Result<(), Error> {
    let configs = configs::read(&args.configs, &args.config_files)?;
    let prompts = prompts::read(args.prompts.as_deref(), args.model.is_none(), args.seed, args.limit)?;
    let model = args.model.clone().map_or_else(bundled_model, Ok)?;
    let mut fewer_steps: Vec<usize> = Vec::new();
    for steps in &args.plain_steps {
        if !fewer_steps.contains(steps) {
            fewer_steps.push(*steps);
        }
    }
    let options = EvaluationOptions {
        files: ModelFiles::find(&model, args.parts.parts())?,
        open: args.draw.open_options(),
        request: args.draw.request(),
        prompts,
        configs,
        fewer_steps: Some(fewer_steps).filter(|steps| !steps.is_empty()),
        networks: args.networks.files(),
        folder: args.out.clone(),
        resume: args.resume,
    };
    let _heap = KeptHeap::on(args.draw.device());
    let mut progress = Progress::new();
    let found = evaluate(&options, &mut |event| match event {
        Progressed::Left(steps) => progress.expect(steps),
        Progressed::Picture { row, picture, pictures } => {
            progress.say(format!("{row}: picture {} of {pictures}", picture + 1));
        }
        Progressed::Score { metric, row, picture, pictures } => {
            progress.say(format!("{} of {row}: picture {} of {pictures}", metric.title(), picture + 1));
        }
        Progressed::Step => progress.step(),
    });
    progress.finish();
    let found = found?;
    for Row { name, warnings, .. } in &found.rows {
        warnings.iter().for_each(|warning| say(format_args!("warning: {name}: {warning}")));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&found).expect("an evaluation is plain data");
        return print(&format!("{json}\n"));
    }
    print(&table::of(&found))
}
