//! `reflux ir`

mod diff;
mod grep;
mod onnx;

use crate::cli::console::say_all;

use crate::Error;
use crate::cli::input::InputArg;
use crate::cli::lowering::{ModelArg, SizeArgs, built_in_names, net_names};
use crate::cli::parts::PartArgs;
use crate::cli::passes::DriveArgs;
use crate::cli::text_file::{text_output, write_result};
use crate::cli::{number, pager};
use crate::pipeline::bundled_model;
use clap::ValueEnum;
use reflux_ir::export::DotOptions;
use reflux_ir::text::PrintOptions;
use reflux_ir::{Graph, Program, export};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show in which values two programs differ; exits with 0 either way
    Diff(diff::Args),
}

#[derive(clap::Args)]
struct ShowArgs {
    /// An ONNX file, or whatever else `reflux opt` takes
    #[arg(value_name = "INPUT", conflicts_with_all = ["model", "config"])]
    input: Option<PathBuf>,
    /// A model folder in diffusers layout, or one file with all networks; no more than config files and the headers of weights
    /// are read [default: the bundled model]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// A built-in configuration
    #[arg(long, value_name = "NAME", value_parser = built_in_names())]
    config: Option<String>,
    #[arg(long, default_value = "transformer", value_parser = net_names())]
    net: String,
    /// Export to another format instead of IR text
    #[arg(long, value_enum)]
    export: Option<Export>,
    /// The variant that an ONNX model is of, if the program has several
    #[arg(long, value_name = "NAME", requires = "export")]
    variant: Option<String>,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Add the FLOP and bytes of each op and stage, and with --cost their times
    #[arg(long, conflicts_with = "export")]
    costs: bool,
    /// Print these values alone, each with what it reads and what reads it: names as --unrolled prints them, %value or @weight, or
    /// either without its sign, in which * matches anything
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["export", "costs", "unrolled"])]
    grep: Option<String>,
    /// Print or draw every block separately, instead of a repeated one once
    #[arg(long)]
    unrolled: bool,
    /// Print of repeated blocks only the first N of each stack, each separately
    #[arg(long, value_name = "N", conflicts_with_all = ["export", "unrolled", "grep"], value_parser = number::count, allow_negative_numbers = true)]
    blocks: Option<usize>,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    drive: DriveArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Export {
    /// Graphviz: render it with `dot -Tsvg`
    Dot,
    /// Model Explorer's graph
    Json,
    /// Model Explorer's node data, to colour that graph: FLOP per op, or with --cost nanoseconds
    Costs,
    /// An ONNX model, for onnxruntime and Netron; with the weights of a model in a file beside it
    Onnx,
}

pub fn ir(args: &Args) -> Result<(), Error> {
    match &args.command {
        None => show(&args.show),
        Some(Command::Diff(args)) => diff::diff(args),
    }
}

fn show(args: &ShowArgs) -> Result<(), Error> {
    let mut out = text_output(args.out.as_deref())?;
    // IR may be put in the place of IR.
    let given = args.input.as_deref().filter(|input| args.export.is_some() && input.is_file());
    let read = args.drive.passes.read().chain(args.model.as_deref()).chain(args.parts.paths());
    out.refuse_inputs(read.chain(given))?;
    args.drive.refuse_dumped(&out)?;
    let recipe = args.drive.passes.recipe()?;
    if let Some(flag) = args.drive.given().filter(|_| recipe.is_none()) {
        return Err(Error::Usage(format!("{flag} needs passes to run; add --passes")));
    }
    if let Some(export) = args.export.filter(|export| args.unrolled && !matches!(export, Export::Dot)) {
        let format = export.to_possible_value().expect("none is hidden");
        let message = format!(
            "--unrolled: --export {} has each block separately anyway; leave it out",
            format.get_name()
        );
        return Err(Error::Usage(message));
    }
    let (input, net) = (input(args)?, Some(args.net.as_str()));
    input.refuse_sizes(&args.sizes)?;
    let (program, timesteps) = input.program(net, &args.sizes)?;
    let default = input.default_for(net, args.drive.machine())?;
    let mut pipeline = recipe.map(|recipe| input.meant(recipe).pipeline(&default)).unwrap_or_default();
    if let Some(Export::Onnx) = args.export {
        onnx::refuse_loras(&pipeline)?;
    }
    input.settle_loras(&mut pipeline, net)?;
    let (program, report) = args.drive.run(program, pipeline, timesteps.as_deref())?;
    say_all(report);
    if let Some(Export::Onnx) = args.export {
        let weights = || input.weights(net, &args.sizes);
        return onnx::export(&program, weights, args.variant.as_deref(), args.out.as_deref());
    }
    if let Some(variant) = &args.variant {
        return Err(Error::Usage(format!(
            "--variant {variant} is for --export onnx; the others have all variants"
        )));
    }
    let text = match &args.grep {
        Some(pattern) => grep::grep(&program, pattern)?,
        None => render(&program, args),
    };
    // What is exported is for programs.
    if out.is_stdout() && args.export.is_none() { pager::show(&text) } else { write_result(&mut out, &text) }
}

/// What is to be shown.
fn input(args: &ShowArgs) -> Result<InputArg<'_>, Error> {
    let model = match (&args.input, &args.config, &args.model) {
        (Some(input), ..) => return InputArg::with_parts(input, &args.parts),
        (None, Some(name), _) => {
            args.parts.refuse(format_args!("{name} is a configuration alone"))?;
            ModelArg::built_in(name).expect("clap knows the names")
        }
        (None, None, Some(folder)) => ModelArg::with_parts(folder, &args.parts)?,
        (None, None, None) => ModelArg::with_parts(&bundled_model()?, &args.parts)?,
    };
    Ok(InputArg::Model(Box::new(model)))
}

fn render(program: &Program, args: &ShowArgs) -> String {
    let ShowArgs { costs, unrolled, blocks, .. } = *args;
    let machine = args.drive.machine();
    match args.export {
        None => program.print(&PrintOptions { costs, machine, unrolled, blocks, ..PrintOptions::default() }),
        Some(Export::Dot) => export::dot(program, DotOptions { machine, unrolled }),
        Some(Export::Json) => format!("{:#}\n", export::model_explorer(program, machine)),
        Some(Export::Costs) => {
            let cost = |graph: &Graph, id| match machine {
                Some(machine) => machine.of_value(graph, id),
                None => graph.cost(id).flops,
            };
            format!("{:#}\n", export::node_data(program, cost))
        }
        Some(Export::Onnx) => unreachable!("it is no text"),
    }
}
