//! Tries random programs and texts, or damaged files, up to a given number or until it is stopped.

use clap::{Parser, ValueEnum};
use reflux_fuzz::check::silence_panics;
use reflux_fuzz::files::Files;
use reflux_fuzz::pipelines::Passes;
use reflux_fuzz::run::{Found, Run, Tally};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Makes random programs and texts and has the passes work on them, or damages files of models and has them read; prints what does
/// not hold of them, made small.
#[derive(Parser)]
struct Arguments {
    /// What to make.
    #[arg(long, value_enum, default_value_t = What::Programs)]
    what: What,
    /// How many inputs to try; without it, until this is stopped.
    #[arg(long)]
    count: Option<u64>,
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

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Texts of programs, and pipelines of passes on them.
    Programs,
    /// Files of weights, LoRAs, configurations and tokenizers.
    Files,
}

/// Tries the input of a number, and counts it.
type Attempt = Box<dyn Fn(u64, &mut Tally)>;

/// How inputs of a kind are tried, by number, and made small.
struct Attempts {
    attempt: Attempt,
    reproducer: Box<dyn Fn(&Found) -> String>,
}

impl Attempts {
    fn of(arguments: &Arguments) -> std::io::Result<Self> {
        let (seed, longest) = (arguments.seed, Some(Duration::from_secs_f64(arguments.longest)));
        Ok(match arguments.what {
            What::Programs => {
                let run = Run { passes: Passes::of(reflux_passes::registry()), seed, longest, compare: None };
                let run = std::rc::Rc::new(run);
                let again = run.clone();
                Self {
                    attempt: Box::new(move |index, tally| run.try_input(index, tally)),
                    reproducer: Box::new(move |found| again.reproducer(found)),
                }
            }
            What::Files => {
                let files = std::rc::Rc::new(Files::new(seed, longest)?);
                let again = files.clone();
                Self {
                    attempt: Box::new(move |index, tally| files.try_input(index, tally)),
                    reproducer: Box::new(move |found| again.reproducer(found.input)),
                }
            }
        })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    silence_panics();
    let attempts = match Attempts::of(&arguments) {
        Ok(attempts) => attempts,
        Err(error) => {
            println!("no room for temporary files: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut tally, start, mut kinds) = (Tally::default(), Instant::now(), 0);
    let end = arguments.count.map_or(u64::MAX, |count| arguments.from.saturating_add(count));
    for index in arguments.from..end {
        let known = tally.failures.len();
        (attempts.attempt)(index, &mut tally);
        for found in tally.failures[known..].iter().filter(|found| found.is_new) {
            kinds += 1;
            let message: Vec<&str> = found.failure.message.lines().take(3).collect();
            println!("== input {} of seed {}: {}", found.input, arguments.seed, message.join("\n"));
            println!("-- small:\n{}", (attempts.reproducer)(found));
        }
        if kinds >= arguments.kinds {
            println!("{kinds} kinds of failure: that is enough");
            break;
        }
        if tally.inputs.is_multiple_of(10_000) {
            println!("{} inputs after {:.0} s", tally.inputs, start.elapsed().as_secs_f64());
        }
    }
    summarize(&tally, &arguments, kinds);
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summarize(tally: &Tally, arguments: &Arguments, kinds: usize) {
    let Tally { inputs, texts, texts_that_verify, ran, refused, files, slowest, failures } = tally;
    println!("{inputs} inputs of seed {}, from {}", arguments.seed, arguments.from);
    match arguments.what {
        What::Programs => println!(
            "{texts} texts, of which {texts_that_verify} are programs; {ran} pipelines ran, {refused} were refused"
        ),
        What::Files => {
            files
                .iter()
                .for_each(|(kind, (read, refused))| println!("{kind}: {read} read, {refused} refused"));
        }
    }
    println!("the slowest input, {}, took {:.3} s{}", slowest.0, slowest.1.as_secs_f64(), peak());
    println!("{} failures of {kinds} kinds", failures.len());
}

/// The most memory that this process has had, where the system says so.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(String::new, |peak| format!("; the most memory was {}", peak.trim()))
}
