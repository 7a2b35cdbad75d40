//! The commands, one file each. Code that they share is in the folder above.

mod bench;
mod bisect;
mod calibrate;
mod compare;
mod compile;
mod doctor;
mod eval;
mod explore;
mod generate;
mod ir;
mod lora;
mod opt;
mod passes;
mod report;
mod run;
mod tune;

use crate::Error;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "reflux",
    version,
    about = "A graph-rewriting optimizer for the FLUX.1 diffusion transformer"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make pictures from prompts
    Generate(generate::Args),
    /// Show a network's IR, or compare two; needs no weights
    Ir(ir::Args),
    /// Run passes on a program and report what they did; needs no weights
    Opt(opt::Args),
    /// Write a page on which to see a program go through its passes, rule by rule; needs no weights
    Explore(explore::Args),
    /// Save a model with its passes done: programs for some sizes, quantized weights, everything to draw with
    Compile(compile::Args),
    /// Compare two programs module by module: the time of each, and the error that it makes
    Compare(compare::Args),
    /// Find the pass, and the application of a rule in it, that changes results by more than it may
    Bisect(bisect::Args),
    /// List the passes, explain one, or say why a rule does or does not apply at a value
    Passes(passes::Args),
    /// Measure what a caching method needs to know of a model
    Calibrate(calibrate::Args),
    /// Find which steps to compute, and how the others reuse, for a model and a budget
    Tune(tune::Args),
    /// Measure what optimizations cost in quality and gain in time, over a set of prompts
    Eval(eval::Args),
    /// Say what a LoRA is, and what of a model it changes
    Lora(lora::Args),
    /// Make a page, tables and plots of what evaluations have found
    Report(report::Args),
    /// Execute a program given as IR text, or an ONNX file
    Run(run::Args),
    /// Measure how long a step takes, and how close that is to the device's roofline
    Bench(bench::Args),
    /// Show the devices, libraries and versions that Reflux finds, or check a device's kernels
    Doctor(doctor::Args),
}

impl Cli {
    /// Runs the command.
    pub fn run(&self) -> Result<(), Error> {
        match &self.command {
            Command::Generate(args) => generate::generate(args),
            Command::Ir(args) => ir::ir(args),
            Command::Opt(args) => opt::opt(args),
            Command::Explore(args) => explore::explore(args),
            Command::Compile(args) => compile::compile(args),
            Command::Compare(args) => compare::compare(args),
            Command::Bisect(args) => bisect::bisect(args),
            Command::Passes(args) => passes::passes(args),
            Command::Calibrate(args) => calibrate::calibrate(args),
            Command::Tune(args) => tune::tune(args),
            Command::Eval(args) => eval::eval(args),
            Command::Lora(args) => lora::lora(args),
            Command::Report(args) => report::report(args),
            Command::Run(args) => run::run(args),
            Command::Bench(args) => bench::bench(args),
            Command::Doctor(args) => doctor::doctor(args),
        }
    }
}
