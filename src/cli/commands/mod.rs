//! The commands, a file each. What they share is in the folder above.

mod bench;
mod bisect;
mod doctor;
mod generate;
mod ir;
mod opt;
mod passes;
mod run;

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
    /// Make pictures of prompts
    Generate(generate::Args),
    /// Show a network's IR, or compare two; needs no weights
    Ir(ir::Args),
    /// Run passes on a program and say what they did; needs no weights
    Opt(opt::Args),
    /// Find the pass, and in it the application of a rule, that changes results by more than it may
    Bisect(bisect::Args),
    /// List the passes, explain one, or say why a rule does not apply somewhere
    Passes(passes::Args),
    /// Execute a program of IR text
    Run(run::Args),
    /// Measure how long a transformer's steps take, and how near that is to what the device can do
    Bench(bench::Args),
    /// Show what Reflux finds on this machine: devices, libraries, versions; or prove the kernels of a device
    Doctor(doctor::Args),
}

impl Cli {
    /// Does what the arguments say.
    pub fn run(&self) -> Result<(), Error> {
        match &self.command {
            Command::Generate(args) => generate::generate(args),
            Command::Ir(args) => ir::ir(args),
            Command::Opt(args) => opt::opt(args),
            Command::Bisect(args) => bisect::bisect(args),
            Command::Passes(args) => passes::passes(args),
            Command::Run(args) => run::run(args),
            Command::Bench(args) => bench::bench(args),
            Command::Doctor(args) => doctor::doctor(args),
        }
    }
}
