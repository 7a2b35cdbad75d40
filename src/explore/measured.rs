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
    value: String,
    calls: u64,
    /// Of all calls.
    ms: f64,
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

    /// Adds the times to the values of `state`.
    pub(super) fn add_to(&self, state: &mut State) {
        let known: HashMap<(&str, &str), &MeasuredValue> =
            self.values.iter().map(|value| ((value.stage.as_str(), value.value.as_str()), value)).collect();
        let State { stages, values, .. } = state;
        for value in values {
            let stem = value.listed.name.split(".{").next().unwrap_or_default();
            let written = match value.listed.rounds {
                Some(_) => format!("{stem}.{{i}}"),
                None => value.listed.name.clone(),
            };
            let found = known.get(&(stages[value.listed.stage].as_str(), written.as_str()));
            value.measured_ms = found.filter(|found| found.calls > 0).map(|found| {
                let rounds = value.listed.ids.len() as f64;
                found.ms * rounds / found.calls as f64
            });
        }
    }
}
