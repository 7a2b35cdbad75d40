//! Profiles: the time of each op.

use reflux_ir::{Cost, ModulePath, Name, Stage};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;

/// The calls of one op of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileEntry {
    pub stage: Stage,
    pub name: Name,
    pub op: &'static str,
    pub path: ModulePath,
    pub calls: u64,
    pub time: Duration,
    /// Of one call.
    pub cost: Cost,
}

impl ProfileEntry {
    /// Of all calls.
    pub fn total_cost(&self) -> Cost {
        let Cost { flops, bytes } = self.cost;
        Cost { flops: flops.saturating_mul(self.calls), bytes: bytes.saturating_mul(self.calls) }
    }
}

/// Time per op, synchronised after each, so the sum is more than the time of an unprofiled run.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    entries: HashMap<(Stage, Name), ProfileEntry>,
}

/// All ops of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpTime {
    pub op: &'static str,
    pub calls: u64,
    pub seconds: f64,
    /// Share of the profile's total, 0…1.
    pub share: f64,
    pub gflops_per_second: f64,
    pub gigabytes_per_second: f64,
}

impl Profile {
    pub(crate) fn record(
        &mut self,
        stage: &Stage,
        instruction: &crate::liveness::Instruction,
        time: Duration,
    ) {
        let key = (stage.clone(), instruction.name.clone());
        let entry = self.entries.entry(key).or_insert_with(|| ProfileEntry {
            stage: stage.clone(),
            name: instruction.name.clone(),
            op: instruction.op.name(),
            path: instruction.path.clone(),
            calls: 0,
            time: Duration::ZERO,
            cost: instruction.cost,
        });
        entry.calls += 1;
        entry.time += time;
    }

    /// The part of it that ran in stages selected by `keep`.
    pub fn only(&self, keep: impl Fn(&Stage) -> bool) -> Self {
        let kept = self.entries.iter().filter(|((stage, _), _)| keep(stage));
        Self { entries: kept.map(|(key, entry)| (key.clone(), entry.clone())).collect() }
    }

    /// All entries, the slowest first.
    pub fn entries(&self) -> Vec<&ProfileEntry> {
        let mut entries: Vec<_> = self.entries.values().collect();
        entries.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
        entries
    }

    /// Time per kind of op, the slowest first.
    pub fn by_op(&self) -> Vec<OpTime> {
        let mut kinds: HashMap<&'static str, (u64, Duration, Cost)> = HashMap::new();
        for entry in self.entries.values() {
            let (calls, time, cost) = kinds.entry(entry.op).or_default();
            *calls += entry.calls;
            *time += entry.time;
            *cost = *cost + entry.total_cost();
        }
        let total: f64 = kinds.values().map(|(_, time, _)| time.as_secs_f64()).sum();
        let mut times: Vec<_> = kinds
            .into_iter()
            .map(|(op, (calls, time, cost))| {
                let seconds = time.as_secs_f64();
                OpTime {
                    op,
                    calls,
                    seconds,
                    share: seconds / total,
                    gflops_per_second: cost.flops as f64 / seconds / 1e9,
                    gigabytes_per_second: cost.bytes as f64 / seconds / 1e9,
                }
            })
            .collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.op.cmp(b.op)));
        times
    }
}
