//! Tries random programs and texts, up to a given number or until it is stopped.

use clap::Parser;
use reflux_fuzz::check::silence_panics;
use reflux_fuzz::pipelines::Passes;
use reflux_fuzz::run::{Run, Tally};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Makes random programs and texts, has the passes work on them, and prints what does not hold of them, made small.
#[derive(Parser)]
struct Arguments {
    /// How many inputs to try.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Other seeds make other inputs; the same ones, the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first input: to see one again, with `--count 1`.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seconds that an input may take.
    #[arg(long, default_value_t = 1.0)]
    longest: f64,
    /// Stop after this many kinds of failure.
    #[arg(long, default_value_t = 20)]
    kinds: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    silence_panics();
    let run = Run {
        passes: Passes::of(reflux_passes::registry()),
        seed: arguments.seed,
        longest: Some(Duration::from_secs_f64(arguments.longest)),
        compare: None,
    };
    let (mut tally, start, mut kinds) = (Tally::default(), Instant::now(), 0);
    for index in arguments.from..arguments.from + arguments.count {
        let known = tally.failures.len();
        run.try_input(index, &mut tally);
        for found in tally.failures[known..].iter().filter(|found| found.is_new) {
            kinds += 1;
            let message: Vec<&str> = found.failure.message.lines().take(3).collect();
            println!("== input {} of seed {}: {}", found.input, arguments.seed, message.join("\n"));
            println!("-- small:\n{}", run.reproducer(found));
        }
        if kinds >= arguments.kinds {
            println!("{kinds} kinds of failure: that is enough");
            break;
        }
        if tally.inputs.is_multiple_of(10_000) {
            println!("{} inputs after {:.0} s", tally.inputs, start.elapsed().as_secs_f64());
        }
    }
    let Tally { inputs, texts, texts_that_verify, ran, refused, slowest, failures } = tally;
    println!(
        "{inputs} inputs of seed {}, from {}: {texts} texts, of which {texts_that_verify} are programs",
        arguments.seed, arguments.from
    );
    println!(
        "{ran} pipelines ran, {refused} were refused; the slowest input, {}, took {:.3} s",
        slowest.0,
        slowest.1.as_secs_f64()
    );
    println!("{} failures of {kinds} kinds", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
