//! `reflux passes`

use crate::Error;
use crate::cli::console::print;
use crate::cli::input::InputArg;
use crate::cli::lowering::SizeArgs;
use crate::pipeline::registry;
use reflux_ir::pass::{Pipeline, Question, RuleInfo, why};
use reflux_models::ModelConfig;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// One line per pass, with its options
    List,
    /// Describe a pass: what it does, its options, its rules, an example; or one of these rules
    Explain {
        /// The name of the pass, or of a rule
        name: String,
    },
    /// Say whether a rule, or each rule of a pass, applies at a value of a program, and if not, why; exits with 0 either way
    Why(Box<WhyArgs>),
}

#[derive(clap::Args)]
struct WhyArgs {
    /// A rule, as listed by `reflux passes explain`, or a pass: quantize, hoist, cache, dce …
    rule: String,
    /// A value of the program, such as %img_mod.0, or a module that computes one, such as transformer_blocks.0.attn.to_q
    value: String,
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration such as flux-dev. For a
    /// model, the transformer is used
    input: PathBuf,
    /// Passes to run on the program first, as in 'canonicalize,hoist'. If the pass in question is among them, it answers with
    /// the options given here, about the program just before it runs
    #[arg(long, value_name = "TEXT", default_value = "")]
    passes: String,
    /// The stage that computes the value, such as reuse or 'prepare prompt' [default: the only one that does]
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
    if let Some((pass, rule)) = registry.pass_with_rule(name).filter(|_| registry.find(name).is_none()) {
        let RuleInfo { name, pattern } = rule;
        return print(&format!(
            "{name}: {pattern}\n\na rule of the pass `{0}`, which this describes:\n  reflux passes explain {0}\n",
            pass.name
        ));
    }
    let pass = registry.get(name)?;
    let model = ModelConfig::built_in_names().next().expect("a family has one");
    let trial = format!("to see its effect\n  reflux opt {model} --preview --passes \"{}\"", pass.example);
    print(&format!("{}\n{trial}\n", registry.explain(pass)))
}

fn ask(args: &WhyArgs) -> Result<(), Error> {
    let registry = registry();
    let pipeline = Pipeline::parse(&args.passes, &registry)?;
    let input = InputArg::of(&args.input)?;
    input.refuse_sizes(&args.sizes)?;
    // A pass changes the program that the question is about, so it is asked before it runs.
    let before = pipeline.passes().collect::<Vec<_>>().iter().rposition(|pass| pass.name() == args.rule);
    let program = input.program_before(&pipeline, before, None, &args.sizes)?;
    let question = Question { rule: &args.rule, value: &args.value, stage: args.stage.as_deref() };
    print(&why(&registry, &pipeline, &program, question)?.to_string())
}
