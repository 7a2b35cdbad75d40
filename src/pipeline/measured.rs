//! Files of what was measured on a checkpoint for a caching method: what they hold, and the pass `cache` as it is written with
//! them, as passes do not read files.

use reflux_ir::pass::{Built, PassInfo};
use reflux_passes::METHODS;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// What `reflux calibrate` has measured, as it is written to a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The version of Reflux that measured it.
    pub version: String,
    /// The method that it is for.
    pub method: String,
    /// The model it was measured on, and how.
    pub model: String,
    pub steps: usize,
    pub width: usize,
    pub height: usize,
    pub seed: u64,
    pub prompts: Vec<String>,
    /// The measured option of the method, by its name.
    #[serde(flatten)]
    pub values: BTreeMap<String, Vec<f64>>,
}

/// The pass `cache`, whose measured options may also be files.
pub fn cache() -> PassInfo {
    PassInfo { build, ..own() }
}

/// The pass as `reflux-passes` has it.
fn own() -> PassInfo {
    let known = reflux_passes::PASSES.iter().find(|pass| pass.name == "cache");
    *known.expect("the pass is there")
}

fn build(mut options: Map<String, Value>) -> Built {
    for name in METHODS.iter().filter_map(|method| method.measured_option()) {
        // Whatever is no list is a file.
        if let Some(Value::String(file)) = options.get(name) {
            let values = read(Path::new(file), name).map_err(serde_json::Error::custom)?;
            options.insert(name.to_owned(), values);
        }
    }
    (own().build)(options)
}

/// The option `name` in the file `path`.
fn read(path: &Path, name: &str) -> Result<Value, String> {
    let file = path.display();
    let hint = "`reflux calibrate` writes such files, and a list may be given instead, as in [1.0,1.2]";
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("{name}={file} cannot be read: {}; {hint}", reflux_ir::words::of_io(&error))
    })?;
    let found: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| format!("{name}={file} is not what was measured: {error}; {hint}"))?;
    match (found.get(name), found.get("method").and_then(Value::as_str)) {
        (Some(values), _) => Ok(values.clone()),
        (None, Some(other)) => Err(format!("{name}={file} has no `{name}`: it was measured for `{other}`")),
        (None, None) => Err(format!("{name}={file} has no `{name}`; {hint}")),
    }
}
