//! `--prompts`, `--limit` and `--seed`.

use crate::Error;
use crate::cli::jobs::Job;
use crate::cli::seed::SeedArg;
use crate::evaluation::{Prompt, PromptSet};
use std::path::Path;

/// The prompts that are asked for.
///
/// # Errors
/// If a file of prompts cannot be read, has none, or asks for what is the same for all pictures; if a seed has no effect.
pub fn read(
    asked: Option<&Path>,
    is_bundled: bool,
    seed: Option<SeedArg>,
    limit: Option<usize>,
) -> Result<PromptSet, Error> {
    let default = if is_bundled { "bundled" } else { "drawbench" };
    let asked = asked.unwrap_or(Path::new(default));
    let first = || seed.map_or(0, SeedArg::number);
    let (set, use_seed) = match asked.to_str() {
        Some("drawbench") => (PromptSet::drawbench(first()), true),
        Some("bundled") => (PromptSet::bundled(), false),
        _ => {
            let jobs = Job::read(asked)?;
            let use_seed = jobs.iter().any(|job| job.seed.is_none());
            let first = if use_seed { first() } else { 0 };
            let numbered = jobs.into_iter().zip(0..);
            let prompt = |(job, index)| prompt(asked, job, first.wrapping_add(index));
            (PromptSet::new(numbered.map(prompt).collect::<Result<_, _>>()?), use_seed)
        }
    };
    if seed.is_some() && !use_seed {
        let asked = asked.display();
        return Err(Error::Usage(format!(
            "--seed has no effect: all prompts of `{asked}` come with their own; leave it out"
        )));
    }
    Ok(match limit {
        Some(limit) => set.first(limit),
        None => set,
    })
}

/// The prompt of a line, and its seed, or else this one.
fn prompt(file: &Path, job: Job, seed: u64) -> Result<Prompt, Error> {
    let only = Job { prompt: job.prompt.clone(), seed: job.seed, line: job.line, ..Job::default() };
    if job != only {
        return Err(Error::Usage(format!(
            "--prompts {}, line {}: pictures of an evaluation differ in `prompt` and `seed` alone; give the rest as options",
            file.display(),
            job.line
        )));
    }
    Ok(Prompt { prompt: job.prompt, seed: job.seed.unwrap_or(seed) })
}
