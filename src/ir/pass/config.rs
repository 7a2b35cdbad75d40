//! Pipelines from configuration files.

use super::{Pipeline, PipelineError, Registry};
use serde_json::{Map, Value};

/// The version of the format that this Reflux writes and reads.
const VERSION: u64 = 1;

/// A pipeline from a TOML or JSON file.
///
/// ```toml
/// version = 1
/// passes = ["canonicalize", "hoist", { pass = "cache", method = "fora", interval = 3 }, "dce"]
/// ```
///
/// `passes` may be pipeline text instead of a list.
#[derive(Debug)]
pub struct Config {
    pub pipeline: Pipeline,
}

/// A file that holds no such configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("it is neither TOML ({toml}) nor JSON ({json})")]
    Syntax { toml: String, json: String },
    #[error("it says nothing; `version = {VERSION}` and `passes = [\"canonicalize\"]` are the least")]
    Empty,
    #[error("its version is {0}, this Reflux reads version {VERSION}")]
    Version(Value),
    #[error("{0}")]
    Shape(String),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl Config {
    /// The table that `text` holds, as TOML or JSON.
    pub fn table(text: &str) -> Result<Map<String, Value>, ConfigError> {
        let table = match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(table) => table,
            Err(json) => toml::from_str(text).map_err(|toml| ConfigError::Syntax {
                toml: toml.message().to_owned(),
                json: json.to_string(),
            })?,
        };
        if table.is_empty() { Err(ConfigError::Empty) } else { Ok(table) }
    }

    /// Whether `table` is a configuration of Reflux's own and not of another tool's.
    pub fn is_own(table: &Map<String, Value>) -> bool {
        ["version", "passes"].iter().any(|key| table.contains_key(*key))
    }

    /// Reads a configuration; unknown keys are errors.
    pub fn read(table: &Map<String, Value>, registry: &Registry) -> Result<Self, ConfigError> {
        match table.get("version") {
            Some(version) if *version == VERSION => {}
            Some(version) => return Err(ConfigError::Version(version.clone())),
            None => return Err(ConfigError::Shape(format!("it lacks its version, `version = {VERSION}`"))),
        }
        if let Some(key) = table.keys().find(|key| !["version", "passes"].contains(&key.as_str())) {
            return Err(ConfigError::Shape(format!("unknown key `{key}`; `version` and `passes` are known")));
        }
        let pipeline = match table.get("passes") {
            Some(Value::String(text)) => Pipeline::parse(text, registry)?,
            Some(Value::Array(entries)) => {
                let mut pipeline = Pipeline::new();
                for entry in entries {
                    match entry {
                        Value::String(text) => pipeline.append(Pipeline::parse(text, registry)?),
                        entry => {
                            let (name, options) = pass_entry(entry)?;
                            pipeline.push_options(registry, &name, options)?;
                        }
                    }
                }
                pipeline
            }
            _ => return Err(ConfigError::Shape("`passes` must be a list of passes or pipeline text".into())),
        };
        Ok(Self { pipeline })
    }
}

/// `{ pass = "name", option = value, … }`.
fn pass_entry(entry: &Value) -> Result<(String, Map<String, Value>), ConfigError> {
    match entry {
        Value::Object(table) => {
            let mut options = table.clone();
            match options.shift_remove("pass") {
                Some(Value::String(name)) => Ok((name, options)),
                _ => Err(ConfigError::Shape(
                    "a pass with options needs its name, as `pass = \"cache\"`".into(),
                )),
            }
        }
        other => Err(ConfigError::Shape(format!("{other} is no pass"))),
    }
}
