//! The command line. Results go to standard output, everything else to standard error; what fails says so in one
//! message and exits with 1.

mod bench;
mod bisect;
mod by_op;
mod catalog;
mod console;
mod device;
mod diff;
mod doctor;
mod generate;
mod heap;
mod input;
mod ir;
mod lowering;
mod number;
mod opt;
mod parts;
mod passes;
mod pictures;
mod progress;
mod run;
mod seed;
#[cfg(unix)]
mod signals;
mod slowest;
mod steps;
mod tensors;
mod usage;

use crate::Error;
use crate::files::Output;
use crate::pipeline::Memory;
use clap::{Parser, Subcommand};
use console::{print, say};
use reflux_ir::{DType, words};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex};

#[derive(Parser)]
#[command(
    name = "reflux",
    version,
    about = "A graph-rewriting optimizer for the FLUX.1 diffusion transformer"
)]
struct Cli {
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
    Passes(catalog::Args),
    /// Execute a program of IR text
    Run(run::Args),
    /// Measure how long a transformer's steps take, and how near that is to what the device can do
    Bench(bench::Args),
    /// Show what Reflux finds on this machine: devices, libraries, versions; or prove the kernels of a device
    Doctor(doctor::Args),
}

/// Parses the arguments, does what they say, and reports what went wrong.
pub fn main() -> ExitCode {
    // A backend that cannot go on panics. On this thread the executor makes that an error, which is reported below; a
    // panic on another thread would go unnoticed, and what it should have computed be missing.
    let elsewhere = Arc::new(Mutex::new(None));
    let (main, seen) = (std::thread::current().id(), Arc::clone(&elsewhere));
    std::panic::set_hook(Box::new(move |panic| {
        tracing::debug!("{panic}");
        if std::thread::current().id() != main
            && let Ok(mut seen) = seen.lock()
        {
            seen.get_or_insert_with(|| panic.to_string());
        }
    }));
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("REFLUX_LOG"))
        .with_writer(std::io::stderr)
        // It would say on standard error that it cannot write there, and fail at that.
        .log_internal_errors(false)
        .init();
    #[cfg(unix)]
    signals::install();
    // This thread is one of those that share work: to hand all of it over, and wait, would cost every small op two switches.
    // The pool is nobody else's yet, so this does not fail; and were it to fail, only time would be lost.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            console::say_all(usage::explain(error));
            return ExitCode::FAILURE;
        }
        Err(help) => {
            // Help and version come this way too; if they cannot be printed, there is nobody to tell.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let outcome = std::panic::catch_unwind(|| match cli.command {
        Command::Generate(args) => generate::generate(&args),
        Command::Ir(args) => ir::ir(&args),
        Command::Opt(args) => opt::opt(&args),
        Command::Bisect(args) => bisect::bisect(&args),
        Command::Passes(args) => catalog::passes(&args),
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Doctor(args) => doctor::doctor(&args),
    });
    let elsewhere = elsewhere.lock().ok().and_then(|mut message| message.take());
    match outcome {
        Ok(Ok(())) => match elsewhere {
            None => ExitCode::SUCCESS,
            Some(panic) => {
                say(format_args!(
                    "error: the backend failed in the background, so the result is wrong: {panic}"
                ));
                ExitCode::FAILURE
            }
        },
        Ok(Err(error)) => {
            say(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(panic) => {
            let message = words::of_panic(&*panic);
            say(format_args!(
                "error: Reflux itself failed: {message}; please report this (REFLUX_LOG=debug tells where)"
            ));
            ExitCode::FAILURE
        }
    }
}

/// `--dtype`: what a network computes in, which is any floating-point type.
#[derive(Clone, Copy, Debug)]
struct DTypeArg(DType);

impl clap::ValueEnum for DTypeArg {
    fn value_variants<'a>() -> &'a [Self] {
        static FLOATS: LazyLock<Vec<DTypeArg>> = LazyLock::new(|| {
            DType::ALL.iter().copied().filter(|dtype| dtype.is_float()).map(DTypeArg).collect()
        });
        &FLOATS
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

impl From<DTypeArg> for DType {
    fn from(DTypeArg(dtype): DTypeArg) -> Self {
        dtype
    }
}

/// `--memory`: what stays on the device.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum MemoryArg {
    /// All networks
    #[default]
    Resident,
    /// What steps and the decoder need; text encoders and the weights of what is prepared leave after use
    Low,
}

impl From<MemoryArg> for Memory {
    fn from(arg: MemoryArg) -> Self {
        match arg {
            MemoryArg::Resident => Self::Resident,
            MemoryArg::Low => Self::Low,
        }
    }
}

/// Says how much memory will be taken at most, before it is.
fn announce_peak(bytes: u64) {
    say(format_args!("planned peak memory: {}", gigabytes(bytes)));
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// Where `--out FILE` says that a text goes: nowhere in particular is standard output.
///
/// # Errors
/// [`Error::Write`] if nothing could be written there later.
fn text_output(argument: Option<&Path>) -> Result<Output, Error> {
    Output::named(argument.unwrap_or(Path::new("-")))
}

/// Writes a result to where [`text_output`] says.
fn write_result(output: &mut Output, text: &str) -> Result<(), Error> {
    if output.is_stdout() { print(text) } else { output.write_text(text) }
}

/// No text that is meant is as long.
const LONGEST_TEXT: u64 = 1 << 28;

fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    // A device such as /dev/zero never ends.
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text))
        .and_then(|length| {
            let is_whole = (length as u64) < LONGEST_TEXT;
            let why = "it is longer than 256 MiB, which no program or configuration is";
            if is_whole { Ok(text) } else { Err(std::io::Error::other(why)) }
        });
    read.map_err(|error| Error::Read { path: path.to_owned(), error })
}
