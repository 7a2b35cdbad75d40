//! The command line. Results go to standard output, everything else to standard error; a failure is one message and exit
//! status 1.
//!
//! Each command is a file of `commands`; the other files are what commands share: their arguments, and how they print.

mod advice;
mod by_op;
mod commands;
mod console;
mod device;
mod drawing;
mod dtype;
mod from_png;
mod given_pictures;
mod heap;
mod highlight;
mod input;
mod jobs;
mod latents;
mod lora;
mod lowering;
mod memory;
mod number;
mod onnx;
mod optimize;
mod out_names;
mod pager;
mod parts;
mod passes;
mod pictures;
mod previews;
mod progress;
mod seed;
mod shell;
#[cfg(unix)]
mod signals;
mod slowest;
mod steps;
mod testbed;
mod text_file;
mod usage;

pub use advice::without_memory;
use clap::Parser;
use commands::Cli;
use console::say;
use reflux_ir::words;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Parses the arguments, runs the command, and reports errors.
pub fn main() -> ExitCode {
    // Backends panic on failures. On this thread the executor turns that into an error, which is reported below; a panic on
    // another thread would go unnoticed, and its results be missing.
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
        // Otherwise it would report failed writes to standard error on standard error, and fail again.
        .log_internal_errors(false)
        .init();
    #[cfg(unix)]
    signals::install();
    // This thread takes part in the work: handing all of it over and waiting would cost two switches per small op.
    // The pool does not exist yet, so this does not fail; if it did, only time would be lost.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            console::say_all(usage::explain(error));
            return ExitCode::FAILURE;
        }
        Err(help) => {
            // Help and version take this way too.
            return if help.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let outcome = std::panic::catch_unwind(|| cli.run());
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
            say(format_args!("error: {}", advice::explain(error)));
            ExitCode::FAILURE
        }
        Err(panic) => {
            let message = words::of_panic(&*panic);
            say(format_args!(
                "error: Reflux itself failed: {message}; please report this (REFLUX_LOG=debug says where)"
            ));
            ExitCode::FAILURE
        }
    }
}
