//! Times that `reflux bench --profile --json` has measured, put beside the estimated ones.

use super::state::State;
use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub device: String,
    /// The passes that the program had, as text.
    pub passes: String,
    #[serde(skip)]
    values: Vec<MeasuredValue>,
}

/// The time of a value, or of the values of several blocks, whose number is `{i}`.
#[derive(Clone, Debug, Deserialize)]
pub struct MeasuredValue {
    stage: String,
    op: String,
    value: String,
    calls: u64,
    /// Of all calls.
    ms: f64,
    /// Of one call.
    flop: u64,
    bytes: u64,
}

/// What is read of a report.
#[derive(Deserialize)]
struct BenchReport {
    device: Device,
    passes: String,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    slowest: Ops,
}

#[derive(Deserialize)]
struct Ops {
    steps: Vec<MeasuredValue>,
    before_the_first_step: Vec<MeasuredValue>,
}

impl Measured {
    /// Reads the JSON of `reflux bench --profile --json`.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Usage`] if the file is none, or without a profile.
    pub fn read(path: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |why: String| {
            let made = "`reflux bench --profile --json` writes such files";
            Error::Usage(format!("{} is no profile: {why}; {made}", path.display()))
        };
        let report: BenchReport = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let profile = report.profile.ok_or_else(|| wrong("it was measured without --profile".into()))?;
        let Ops { steps, before_the_first_step } = profile.slowest;
        let values = [steps, before_the_first_step].concat();
        Ok(Self { device: report.device.name, passes: report.passes, values })
    }

    /// Adds the times to the values of `state`, as far as they are of the same ops over as many numbers; returns how many values have one.
    pub(super) fn add_to(&self, state: &mut State) -> usize {
        let mut known: HashMap<(&str, &str), Vec<&MeasuredValue>> = HashMap::new();
        for value in self.values.iter().filter(|value| value.calls > 0) {
            known.entry((&value.stage, &value.value)).or_default().push(value);
        }
        let State { stages, values, .. } = state;
        let mut found = 0;
        for value in values {
            let listed = &value.listed;
            let stage = stages[listed.stage].as_str();
            let of_blocks = format!("{}.{{i}}", listed.stem);
            let named = [listed.name.as_str(), of_blocks.as_str()]
                .into_iter()
                .filter_map(|name| known.get(&(stage, name)));
            let rounds = listed.ids.len() as u64;
            let is_it = |measured: &&&MeasuredValue| {
                measured.op == listed.op
                    && measured.flop.saturating_mul(rounds) == listed.flops
                    && measured.bytes.saturating_mul(rounds) == listed.bytes
            };
            let measured = named.flatten().find(is_it);
            value.measured_ms = measured.map(|measured| measured.ms * rounds as f64 / measured.calls as f64);
            found += usize::from(measured.is_some());
        }
        found
    }

    /// How many values were measured, those of several blocks as one.
    pub fn count(&self) -> usize {
        self.values.len()
    }
}
