//! `reflux passes`

use crate::Error;
use crate::cli::console::print;
use crate::cli::input::Input;
use crate::cli::lowering::SizeArgs;
use reflux_ir::pass::{Pipeline, Question, why};
use reflux_passes::registry;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Every pass in a line, with its options
    List,
    /// All that is known of a pass: what it does, its options, its rules, an example
    Explain {
        /// The pass, as in pipelines
        name: String,
    },
    /// Say whether a rule, or those of a pass, apply at a value of a program, and why not if they do not; succeeds either way
    Why(WhyArgs),
}

#[derive(clap::Args)]
struct WhyArgs {
    /// A rule of a pass, as `reflux passes explain` lists them, or a pass: quantize, hoist, cache, dce …
    rule: String,
    /// A value of the program, as in %img_mod.0, or a module that computes one, as in transformer_blocks.0.attn.to_q
    value: String,
    /// An IR file, a FLUX.1 model in diffusers layout, or a built-in configuration: flux-dev, flux-schnell. Of a model, it
    /// is the transformer
    input: PathBuf,
    /// Passes to run on the program first, as in 'canonicalize,hoist'. A pass that is asked by its name is asked with the
    /// options that it has here, of the program that it finds
    #[arg(long, value_name = "TEXT", default_value = "")]
    passes: String,
    /// The stage that the value is of, as in reuse or 'prepare prompt' [default: the only one that computes it]
    #[arg(long)]
    stage: Option<String>,
    #[command(flatten)]
    sizes: SizeArgs,
}

pub fn passes(args: &Args) -> Result<(), Error> {
    match &args.command {
        None | Some(Command::List) => print(&registry().list().to_string()),
        Some(Command::Explain { name }) => explain(name),
        Some(Command::Why(args)) => ask(args),
    }
}

fn explain(name: &str) -> Result<(), Error> {
    let registry = registry();
    let pass = registry.get(name)?;
    print(&registry.explain(pass).to_string())
}

fn ask(args: &WhyArgs) -> Result<(), Error> {
    let registry = registry();
    let pipeline = Pipeline::parse(&args.passes, &registry)?;
    let input = Input::of(&args.input)?;
    input.refuse_sizes(&args.sizes)?;
    // A pass changes what it would be asked about: it is asked before it has run.
    let before = pipeline.passes().collect::<Vec<_>>().iter().rposition(|pass| pass.name() == args.rule);
    let program = input.program_before(&pipeline, before, None, &args.sizes)?;
    let question = Question { rule: &args.rule, value: &args.value, stage: args.stage.as_deref() };
    print(&why(&registry, &pipeline, &program, question)?.to_string())
}
