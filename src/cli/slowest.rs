//! The ops of a profile, the slowest first: as a table of these, and all of them as JSON.

use reflux_ir::{Cost, ModulePath, Name, Stage, si};
use reflux_runtime::{Profile, ProfileEntry};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// At most this many ops are in a table of steps, and of what ran before them; JSON has all.
const SHOWN: usize = 20;

/// The ops that take longest. What runs once is kept apart: beside a single step it would hide what takes time in it.
#[derive(Debug, Serialize)]
pub struct Slowest {
    steps: Vec<SlowOps>,
    before_the_first_step: Vec<SlowOps>,
}

/// An op, or the ops of several blocks that are the same but for their weights.
#[derive(Debug, Serialize)]
struct SlowOps {
    stage: String,
    op: &'static str,
    /// The value, its block `{i}` if the row is of several.
    value: String,
    module: String,
    calls: u64,
    /// Of all calls.
    ms: f64,
    /// Of the time of all ops of its list, 0…1.
    share: f64,
    /// Of one call.
    flop: u64,
    /// Of one call.
    bytes: u64,
}

/// What ops have in common that are one row.
type RowKey = (Stage, &'static str, String, String, (u64, u64));

impl Slowest {
    /// Those of `profile`.
    pub fn of(profile: &Profile) -> Self {
        let is_step = |stage: &Stage| matches!(stage, Stage::Variant(_));
        Self {
            steps: rows(&profile.only(is_step)),
            before_the_first_step: rows(&profile.only(|stage| !is_step(stage))),
        }
    }
}

fn rows(profile: &Profile) -> Vec<SlowOps> {
    let entries = profile.entries();
    let total: Duration = entries.iter().map(|entry| entry.time).sum();
    let mut kinds: HashMap<RowKey, Vec<&ProfileEntry>> = HashMap::new();
    for entry in entries {
        kinds.entry(kind(entry)).or_default().push(entry);
    }
    let mut rows: Vec<_> = kinds.into_iter().map(|(kind, entries)| row(kind, &entries, total)).collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms).then_with(|| a.value.cmp(&b.value)));
    rows
}

fn kind(entry: &ProfileEntry) -> RowKey {
    let Cost { flops, bytes } = entry.cost;
    (entry.stage.clone(), entry.op, any_block(&entry.name), any_module(&entry.path), (flops, bytes))
}

/// `attn.17` as `attn.{i}`.
fn any_block(name: &Name) -> String {
    name.split_index().map_or_else(|| name.to_string(), |(stem, _)| format!("{stem}.{{i}}"))
}

/// `blocks.17.attn` as `blocks.{i}.attn`.
fn any_module(path: &ModulePath) -> String {
    let segments = path.segments().map(|part| if part.parse::<usize>().is_ok() { "{i}" } else { part });
    segments.collect::<Vec<_>>().join(".")
}

fn row(
    (stage, op, value, module, (flop, bytes)): RowKey,
    entries: &[&ProfileEntry],
    total: Duration,
) -> SlowOps {
    let time: Duration = entries.iter().map(|entry| entry.time).sum();
    let (value, module) = match entries {
        [entry] => (entry.name.to_string(), entry.path.to_string()),
        _ => (value, module),
    };
    SlowOps {
        stage: stage.to_string(),
        op,
        value,
        module,
        calls: entries.iter().map(|entry| entry.calls).sum(),
        ms: time.as_secs_f64() * 1e3,
        share: if total.is_zero() { 0.0 } else { time.as_secs_f64() / total.as_secs_f64() },
        flop,
        bytes,
    }
}

impl fmt::Display for Slowest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("steps", &self.steps), ("before the first step", &self.before_the_first_step)];
        for (title, rows) in lists.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            writeln!(f, "{title}; FLOP and bytes are per call")?;
            writeln!(f, "{:>10} {:>6} {:>7} {:>9} {:>9}", "ms", "share", "calls", "FLOP", "bytes")?;
            rows.iter().take(SHOWN).try_for_each(|row| row.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for SlowOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, op, value, module, calls, ms, share, .. } = self;
        let (share, flop, bytes) = (share * 100.0, si(self.flop), si(self.bytes));
        let place = if module.is_empty() { String::new() } else { format!(" in {module}") };
        writeln!(
            f,
            "{ms:>10.3} {share:>5.1}% {calls:>6}× {flop:>9} {bytes:>9}  {op} %{value}{place} ({stage})"
        )
    }
}
