//! Pipelines from configuration files.

use super::{PipelineError, Recipe, Registry};
use crate::words;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;

/// The version of the format that this Reflux writes and reads.
const VERSION: u64 = 1;

/// The key of the passes that run with the default ones.
const PASSES: &str = "passes";

/// The key of the passes to run without the default ones.
const ONLY: &str = "passes_only";

/// A [`Recipe`] from a TOML or JSON file.
///
/// ```toml
/// version = 1
/// passes = [{ pass = "cache", method = "fora", interval = 3 }, "quantize(int8dq)"]
/// ```
///
/// `passes` run with the default ones; `passes_only`, instead of it, lists exactly the passes to run. Either may be pipeline
/// text instead of a list.
#[derive(Debug)]
pub struct PassConfig {
    pub recipe: Recipe,
}

/// A file that is not such a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Text that begins with `{` is JSON, other text is TOML.
    #[error("it cannot be read as {language}: {why}")]
    Syntax { language: &'static str, why: String },
    #[error("it is empty; it needs at least `version = {VERSION}` and `passes = [\"canonicalize\"]`")]
    Empty,
    #[error("its version is {0}, but this Reflux reads version {VERSION}")]
    Version(Value),
    #[error("{0}")]
    Shape(String),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl PassConfig {
    /// The table that `text` holds, as TOML or JSON.
    pub fn table(text: &str) -> Result<Map<String, Value>, ConfigError> {
        let table = if text.trim_start().starts_with('{') {
            let why = |error: serde_json::Error| words::of_serde(&error.to_string());
            serde_json::from_str(text)
                .map(|Unique(table)| table)
                .map_err(|error| ConfigError::Syntax { language: "JSON", why: why(error) })?
        } else {
            toml::from_str(text).map_err(|error: toml::de::Error| {
                let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
                let place = line.map(|line| format!(" at line {line}")).unwrap_or_default();
                let why = format!(
                    "{}{place} (JSON would begin with an opening brace)",
                    words::of_serde(error.message())
                );
                ConfigError::Syntax { language: "TOML", why }
            })?
        };
        if table.is_empty() { Err(ConfigError::Empty) } else { Ok(table) }
    }

    /// Whether `table` is a configuration of Reflux, and not of another tool.
    pub fn is_own(table: &Map<String, Value>) -> bool {
        ["version", PASSES, ONLY].iter().any(|key| table.contains_key(*key))
    }

    /// Reads a configuration; unknown keys are errors.
    pub fn read(table: &Map<String, Value>, registry: &Registry) -> Result<Self, ConfigError> {
        match table.get("version") {
            Some(version) if *version == VERSION => {}
            Some(version) => return Err(ConfigError::Version(version.clone())),
            None => return Err(ConfigError::Shape(format!("it lacks `version = {VERSION}`"))),
        }
        let known = ["version", PASSES, ONLY];
        if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
            let why = format!("unknown key `{key}`; `version` and `{PASSES}`, or `{ONLY}`, are known");
            return Err(ConfigError::Shape(why));
        }
        match (table.get(PASSES), table.get(ONLY)) {
            (Some(_), Some(_)) => Err(ConfigError::Shape(format!(
                "`{PASSES}` and `{ONLY}` cannot both be given: the first run with the default passes, the second without"
            ))),
            (Some(wanted), None) => Ok(Self { recipe: recipe(PASSES, wanted, registry)? }),
            (None, Some(only)) => Ok(Self { recipe: recipe(ONLY, only, registry)?.only() }),
            (None, None) => Err(ConfigError::Shape(format!("it lacks `{PASSES}`"))),
        }
    }
}

/// A JSON table, in which no key may occur twice.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut table = Map::new();
                while let Some((key, value)) = entries.next_entry::<String, Value>()? {
                    if table.contains_key(&key) {
                        return Err(A::Error::custom(format!("duplicate field `{key}`")));
                    }
                    table.insert(key, value);
                }
                Ok(table)
            }
        }

        deserializer.deserialize_map(Entries).map(Self)
    }
}

/// The passes under `key`.
fn recipe(key: &str, passes: &Value, registry: &Registry) -> Result<Recipe, ConfigError> {
    let mut recipe = Recipe::default();
    match passes {
        Value::String(text) => recipe.append(text, registry)?,
        Value::Array(entries) => {
            for entry in entries {
                match entry {
                    Value::String(text) => recipe.append(text, registry)?,
                    entry => {
                        let (name, options) = pass_entry(entry)?;
                        recipe.push(registry, &name, options)?;
                    }
                }
            }
        }
        _ => return Err(ConfigError::Shape(format!("`{key}` must be a list of passes or pipeline text"))),
    }
    Ok(recipe)
}

/// `{ pass = "name", option = value, … }`.
fn pass_entry(entry: &Value) -> Result<(String, Map<String, Value>), ConfigError> {
    match entry {
        Value::Object(table) => {
            let mut options = table.clone();
            match options.shift_remove("pass") {
                Some(Value::String(name)) => Ok((name, options)),
                _ => Err(ConfigError::Shape(
                    "a pass with options needs a name, as in `pass = \"cache\"`".into(),
                )),
            }
        }
        other => Err(ConfigError::Shape(format!("{other} is not a pass"))),
    }
}
