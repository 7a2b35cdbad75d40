//! `reflux tune`

use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::drawing::DrawArgs;
use crate::cli::heap::KeptHeap;
use crate::cli::jobs::Job;
use crate::cli::number;
use crate::cli::parts::PartArgs;
use crate::cli::passes::PassArgs;
use crate::cli::seed::SeedArg;
use crate::cli::shell::quoted;
use crate::files::OutputFile;
use crate::pipeline::{
    Goal, Objective, OpenOptions, PREDICTORS, Request, Tried, TuneOptions, Tuned, bundled_model,
    tune as search,
};
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reflux_ir::pass::counted;
use reflux_models::ModelFiles;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is drawn where no prompts are given: pictures of different kinds.
const PROMPTS: [&str; 8] = [
    "a red apple on a blue background",
    "a portrait of an old woman with a hat, soft light",
    "a city street at night in the rain, with neon signs",
    "a mountain lake, watercolour",
    "a small rocket on a yellow background",
    "a bowl of fruit on a wooden table",
    "an owl on a green background",
    "a sign that says hello",
];

#[derive(clap::Args)]
pub struct Args {
    /// What to draw to compare schedules, each with a seed of its own [default: eight pictures of different kinds]
    prompts: Vec<String>,
    /// Read the prompts from a file: one a line, or JSON lines with their own seeds
    #[arg(long = "prompts", value_name = "FILE", conflicts_with = "prompts")]
    list: Option<PathBuf>,
    /// A model folder in diffusers layout, or an id in the Hugging Face Hub's local cache [default: the bundled model]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    #[command(flatten)]
    goal: GoalArgs,
    /// What of the pictures is compared with those where every step computes
    #[arg(long, value_enum, default_value = "latents", ignore_case = true)]
    objective: ObjectiveArg,
    /// A method of `cache` whose forecasts are tried; may be repeated [default: all]
    #[arg(long, value_name = "METHOD", value_parser = PossibleValuesParser::new(PREDICTORS), ignore_case = true)]
    method: Vec<String>,
    /// Changes of the schedule that annealing tries, before changes are made as long as one makes it better
    #[arg(long, default_value = "200", value_parser = number::count, allow_negative_numbers = true)]
    iterations: usize,
    /// Seed of the search; the first picture has it too, and each further one the next
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    seed: SeedArg,
    /// Where to write the passes that were found, for --passes-config
    #[arg(long, short, value_name = "FILE", default_value = "tuned.toml")]
    out: PathBuf,
    /// Go on with an earlier search, whose trials are in FILE.trials.jsonl beside --out
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    draw: DrawArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// How many steps compute.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct GoalArgs {
    /// Compute this many steps
    #[arg(long, value_name = "N", value_parser = number::count, allow_negative_numbers = true)]
    computed: Option<usize>,
    /// Compute this part of the steps, as in 0.4
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    budget: Option<f64>,
    /// Compute as few steps as give the median picture this PSNR, in dB, against the one where every step computes
    #[arg(long, value_name = "DB", allow_negative_numbers = true)]
    min_psnr: Option<f64>,
}

impl GoalArgs {
    fn goal(&self) -> Goal {
        match (self.computed, self.budget, self.min_psnr) {
            (Some(computed), ..) => Goal::Computed(computed),
            (None, Some(share), _) => Goal::Budget(share),
            (None, None, least) => Goal::MinPsnr(least.expect("clap wants one of them")),
        }
    }
}

/// `--objective`
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ObjectiveArg {
    /// The final latents
    Latents,
    /// The pixels
    Pictures,
}

impl From<ObjectiveArg> for Objective {
    fn from(arg: ObjectiveArg) -> Self {
        match arg {
            ObjectiveArg::Latents => Self::Latents,
            ObjectiveArg::Pictures => Self::Pictures,
        }
    }
}

pub fn tune(args: &Args) -> Result<(), Error> {
    let mut output = OutputFile::named(&args.out)?;
    let read = args.model.as_deref().into_iter().chain(args.parts.paths()).chain(args.passes.read());
    output.refuse_inputs(read.chain(args.list.as_deref()))?;
    if !output.is_file() {
        let message = "--out names the file of what is found, beside which goes what was tried; name a file";
        return Err(Error::Usage(message.into()));
    }
    let journal = journal_of(&args.out);
    let seed = args.seed.number();
    let requests = args.requests(seed)?;
    let model = args.model.clone().map_or_else(bundled_model, Ok)?;
    let files = ModelFiles::find(&model, args.parts.parts())?;
    let passes = args.passes.recipe()?.unwrap_or_default();
    let options = OpenOptions { passes, ..args.draw.open_options() };
    let how = TuneOptions {
        goal: args.goal.goal(),
        objective: args.objective.into(),
        methods: args.method.iter().map(|method| method.to_lowercase()).collect(),
        iterations: args.iterations,
        seed,
    };
    let _heap = KeptHeap::on(args.draw.device());
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = "{msg} {wide_bar} {pos}/{len} tried, {elapsed} so far, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    let mut progress = |Tried { computed, tried, of, error }: Tried| {
        bar.set_length(of as u64);
        bar.set_position(tried as u64);
        bar.set_message(format!("{computed} steps compute, error {error:.4}"));
    };
    let found = search(files, options, &requests, &how, (&journal, args.resume), &mut |_| {}, &mut progress);
    bar.finish_and_clear();
    let found = found?;
    output.write_text(&format!("{}{}", header(&found), found.config))?;
    found.warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
    if args.json {
        let json = serde_json::to_string_pretty(&found).expect("what is found is plain data");
        return print(&format!("{json}\n"));
    }
    print(&text(&found, &args.out))
}

impl Args {
    /// A picture each.
    fn requests(&self, seed: u64) -> Result<Vec<Request>, Error> {
        let common = self.draw.request();
        let with_seed =
            |(index, request): (usize, Request)| Request { seed: seed.wrapping_add(index as u64), ..request };
        let Some(list) = &self.list else {
            let prompts = match &self.prompts[..] {
                [] => PROMPTS.map(str::to_owned).to_vec(),
                given => given.to_vec(),
            };
            let request = |prompt| Request { prompts: vec![prompt], ..common.clone() };
            return Ok(prompts.into_iter().map(request).enumerate().map(with_seed).collect());
        };
        let jobs = Job::read(list)?;
        let request = |(index, job): (usize, &Job)| {
            let request = job.request(&common);
            let request = if job.seed.is_some() { request } else { with_seed((index, request)) };
            let own = Job { prompt: job.prompt.clone(), seed: job.seed, line: job.line, ..Job::default() };
            match own == *job {
                true => Ok(request),
                false => Err(Error::Usage(format!(
                    "--prompts {}, line {}: schedules are compared on pictures that have all but prompt and seed in common; leave out the rest",
                    list.display(),
                    job.line
                ))),
            }
        };
        jobs.iter().enumerate().map(request).collect()
    }
}

/// Where the trials of a search go whose result goes to `out`.
fn journal_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".trials.jsonl");
    name.into()
}

/// What was found, as comments of a configuration.
fn header(found: &Tuned) -> String {
    let Tuned { version, model, device, width, height, steps, computed, pictures, .. } = found;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# Found by reflux tune {version} for {model} on {device}: {computed} of {} compute, {width}×{height}, on {}.",
        counted(*steps, "step"),
        counted(*pictures, "picture")
    );
    let _ = writeln!(text, "# {}", against(found));
    text
}

fn against(found: &Tuned) -> String {
    let by = |outcome: &crate::pipeline::Outcome| {
        format!("error {:.4} ({}), median PSNR {:.1} dB", outcome.error, found.objective, outcome.psnr)
    };
    format!("{}; evenly spread: {}", by(&found.found), by(&found.even))
}

fn text(found: &Tuned, out: &Path) -> String {
    let Tuned { steps, computed, pictures, tried, known, steps_run, steps_saved, seconds, .. } = found;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{computed} of {} compute, on {}",
        counted(*steps, "step"),
        counted(*pictures, "picture")
    );
    for (name, outcome) in [("found", &found.found), ("even", &found.even)] {
        let _ = writeln!(
            text,
            "{name:<6} error {:.4}, median PSNR {:>5.2} dB: {}",
            outcome.error, outcome.psnr, outcome.pass
        );
    }
    let earlier = if *known > 0 { format!(" and {known} by an earlier search") } else { String::new() };
    let saved = 100.0 * *steps_saved as f64 / (steps_run + steps_saved).max(1) as f64;
    let _ = writeln!(
        text,
        "{tried} schedules tried{earlier} in {seconds:.1} s; {saved:.0} % of their steps were known from others"
    );
    let _ = writeln!(text, "run with --passes-config {}", quoted(&out.display().to_string()));
    text
}
