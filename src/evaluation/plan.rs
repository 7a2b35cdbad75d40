//! What decides about an evaluation's results: only with the same plan does a run go on where another one stopped.

use super::summary::Prompt;
use crate::pipeline::Memory;
use reflux_ir::DType;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The name of the base's row. The base with `N` steps is `base-N`.
pub const BASE: &str = "base";

/// What decides about an evaluation's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of Reflux.
    pub version: String,
    pub model: String,
    /// Weights in place of the model's, by network.
    pub parts: BTreeMap<String, PathBuf>,
    /// Its name.
    pub device: String,
    pub dtype: DType,
    pub memory: String,
    pub width: usize,
    pub height: usize,
    /// Of the base.
    pub steps: usize,
    pub guidance: Option<f32>,
    /// The base and the configs, in order, with the passes that are asked for.
    pub rows: Vec<PlannedRow>,
    /// Steps of the base that are asked for too, if they are not to be chosen.
    pub fewer_steps: Option<Vec<usize>>,
    pub prompts: Vec<Prompt>,
}

/// A row, and its passes as pipeline text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRow {
    pub name: String,
    pub passes: String,
}

impl Plan {
    /// The first difference to what an earlier run had planned, in words; none if both plan the same.
    pub fn difference(&self, earlier: &Self) -> Option<String> {
        let [now, before] =
            [self, earlier].map(|plan| serde_json::to_value(plan).expect("a plan is plain data"));
        let fields = before.as_object()?.iter().zip(now.as_object()?.values());
        let ((name, before), now) = fields.into_iter().find(|((_, before), now)| before != now)?;
        let (Value::Array(before), Value::Array(now)) = (before, now) else {
            return Some(said(name, Some(before), Some(now)));
        };
        let place = (0..before.len().max(now.len())).find(|index| before.get(*index) != now.get(*index))?;
        Some(said(&format!("{name}[{place}]"), before.get(place), now.get(place)))
    }
}

/// The name of how networks stay on the device.
pub fn name_of(memory: Memory) -> String {
    let name = serde_json::to_value(memory).ok();
    name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn said(name: &str, before: Option<&Value>, now: Option<&Value>) -> String {
    let [before, now] = [before, now].map(|value| value.map_or("nothing".to_owned(), Value::to_string));
    format!("`{name}` is {before} there and {now} here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let row = |name: &str, passes: &str| PlannedRow { name: name.into(), passes: passes.into() };
        let plan = Plan {
            version: "1".into(),
            model: "m".into(),
            parts: BTreeMap::new(),
            device: "d".into(),
            dtype: DType::F32,
            memory: name_of(Memory::Low),
            width: 64,
            height: 64,
            steps: 4,
            guidance: Some(3.5),
            rows: vec![row("base", "dce")],
            fewer_steps: None,
            prompts: vec![Prompt { prompt: "an owl".into(), seed: 0 }],
        };
        assert_eq!(plan.difference(&plan), None);
        let other = Plan { steps: 5, width: 32, ..plan.clone() };
        assert_eq!(other.difference(&plan).unwrap(), "`width` is 64 there and 32 here");
        let more = Plan { rows: vec![row("base", "dce"), row("x", "")], ..plan.clone() };
        assert_eq!(
            more.difference(&plan).unwrap(),
            "`rows[1]` is nothing there and {\"name\":\"x\",\"passes\":\"\"} here"
        );
        assert_eq!(plan.memory, "low");
        let read: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(read, plan);
    }
}
