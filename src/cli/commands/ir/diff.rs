//! `reflux ir diff`

use crate::Error;
use crate::cli::console::{escaped, has_colours, print, print_styled, say};
use crate::cli::input::InputArg;
use crate::cli::lowering::{SizeArgs, net_names};
use crate::cli::number;
use crate::files::OutputFile;
use crate::pipeline::registry;
use reflux_ir::pass::Pipeline;
use reflux_ir::{DiffLayout, DiffOptions, Program, ProgramDiff, export};
use std::path::{Path, PathBuf};

/// Columns if standard output is not a terminal.
const COLUMNS: usize = 160;

#[derive(clap::Args)]
pub struct Args {
    /// An IR file, an ONNX file, a model folder in diffusers layout, or a built-in configuration such as flux-dev
    a: PathBuf,
    /// The program to compare it with, given in the same way
    b: PathBuf,
    /// Passes to run on A first, as in 'canonicalize,hoist'
    #[arg(long, value_name = "TEXT")]
    passes_a: Option<String>,
    /// Passes to run on B first
    #[arg(long, value_name = "TEXT")]
    passes_b: Option<String>,
    /// Show the programs in two columns
    #[arg(long)]
    side_by_side: bool,
    /// Equal lines to show around each difference
    #[arg(long, value_name = "LINES", default_value = "2", value_parser = number::count, allow_negative_numbers = true)]
    context: usize,
    /// The network of a model to compare
    #[arg(long, default_value = "transformer", value_parser = net_names())]
    net: String,
    /// Write both programs and what differs as graphs and node data for Model Explorer into this folder, which is made if it is not
    /// there, instead of printing anything
    #[arg(long, value_name = "DIR", conflicts_with_all = ["side_by_side", "context"])]
    model_explorer: Option<PathBuf>,
    #[command(flatten)]
    sizes: SizeArgs,
}

pub fn diff(args: &Args) -> Result<(), Error> {
    let inputs = [InputArg::of(&args.a)?, InputArg::of(&args.b)?];
    if let [InputArg::File(_), file @ InputArg::File(_)] = &inputs {
        file.refuse_sizes(&args.sizes)?;
    }
    let [a, b] = inputs;
    let (a, a_name) = side(args, &a, &args.a, args.passes_a.as_deref())?;
    let (b, b_name) = side(args, &b, &args.b, args.passes_b.as_deref())?;
    if let Some(folder) = &args.model_explorer {
        return write_graphs(folder, [&a, &b], [&args.a, &args.b]);
    }
    let out = std::io::stdout();
    let width = terminal_size::terminal_size_of(&out).map_or(COLUMNS, |(width, _)| width.0.into());
    let options = DiffOptions {
        layout: if args.side_by_side { DiffLayout::SideBySide { width } } else { DiffLayout::Unified },
        context: args.context,
        colour: has_colours(),
    };
    let text = ProgramDiff::new([&a_name, &b_name], [&a, &b]).display(options).to_string();
    if options.colour { print_styled(&text) } else { print(&text) }
}

/// Writes the graphs of two programs, `a.json` and `b.json`, and what differs between them for each, `a.diff.json` and `b.diff.json`.
fn write_graphs(folder: &Path, programs: [&Program; 2], inputs: [&Path; 2]) -> Result<(), Error> {
    if !folder.is_dir() {
        std::fs::create_dir(folder).map_err(|error| {
            let is_there = folder.symlink_metadata().is_ok();
            let error = if is_there { std::io::Error::other("it is no folder") } else { error };
            Error::Write { path: folder.to_owned(), error }
        })?;
    }
    let graphs = programs.map(|program| export::model_explorer(program, None));
    let named = ["a", "b"].into_iter().zip(graphs).zip(export::diff_data(programs));
    let mut files = Vec::new();
    for ((name, graph), diff) in named {
        for (file, json) in [(format!("{name}.json"), graph), (format!("{name}.diff.json"), diff)] {
            let output = OutputFile::at(&folder.join(file))?;
            output.refuse_inputs(inputs)?;
            files.push((output, json));
        }
    }
    files.iter_mut().try_for_each(|(output, json)| output.write_text(&format!("{json:#}\n")))?;
    let folder = folder.display();
    say(format_args!(
        "a.json and b.json are graphs, a.diff.json and b.diff.json node data of them, in {folder}; docs/exports.md says how to open them"
    ));
    Ok(())
}

/// One of the two programs, after `passes`, and its name.
fn side(
    args: &Args,
    input: &InputArg,
    name: &Path,
    passes: Option<&str>,
) -> Result<(Program, String), Error> {
    let pipeline = Pipeline::parse(passes.unwrap_or_default(), &registry())?;
    let program = input.program_after(&pipeline, Some(&args.net), &args.sizes)?;
    let name = name.display().to_string();
    let name = escaped(&name);
    let name = if pipeline.is_empty() { name.to_string() } else { format!("{name} after {pipeline}") };
    Ok((program, name))
}
