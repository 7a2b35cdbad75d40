//! The two forms of a `SmashConfig` as one.

use super::error::PrunaError;
use super::known::{ARGUMENTS, Algorithm, GROUPS, algorithm_names, nearest, nearest_key};
use serde_json::{Map, Value};

/// The algorithms that are on, with those of their options that are given.
pub struct Smash {
    pub algorithms: Vec<(&'static Algorithm, Map<String, Value>)>,
    /// Of the keys that name no algorithm.
    pub notes: Vec<String>,
}

/// What has been read about an algorithm so far.
struct Mention {
    algorithm: &'static Algorithm,
    on: Option<bool>,
    options: Map<String, Value>,
}

impl Smash {
    /// Reads a configuration. Null is the same as absent.
    pub fn read(table: &Map<String, Value>) -> Result<Self, PrunaError> {
        let mut mentions = Vec::new();
        let mut notes = Vec::new();
        for (key, value) in table.iter().filter(|(_, value)| !value.is_null()) {
            if let Some((_, instead)) = ARGUMENTS.iter().find(|(name, _)| name == key) {
                if !is_empty(value) {
                    notes.push(format!("{key}: {instead}"));
                }
            } else if GROUPS.contains(&key.as_str()) {
                mention(&mut mentions, named(key, value)?).on = Some(true);
            } else if let Some(algorithm) = Algorithm::find(key) {
                switch(mention(&mut mentions, algorithm), value)?;
            } else {
                // Old configurations have one quantizer, and may leave its name out here.
                let key = if key == "target_modules" { "torchao_target_modules" } else { key };
                let Some((algorithm, option)) = Algorithm::of_key(key) else { return Err(unknown(key)) };
                mention(&mut mentions, algorithm).options.insert(option.to_owned(), value.clone());
            }
        }
        // An option of an algorithm that is not on has no effect, which is never intended, unless it is `false`.
        let forgotten = mentions.iter().find(|mention| mention.on.is_none());
        if let Some(Mention { algorithm, options, .. }) = forgotten {
            let key = options.keys().next().map(|option| algorithm.key(option)).unwrap_or_default();
            return Err(PrunaError::Off { key, algorithm: algorithm.name });
        }
        let on = mentions.into_iter().filter(|mention| mention.on == Some(true));
        Ok(Self { algorithms: on.map(|mention| (mention.algorithm, mention.options)).collect(), notes })
    }
}

/// The algorithm that the value of a key like `cacher` names.
fn named(key: &str, value: &Value) -> Result<&'static Algorithm, PrunaError> {
    let Value::String(name) = value else {
        return Err(PrunaError::value(key, format!("expected the name of an algorithm, not {value}")));
    };
    Algorithm::find(name).ok_or_else(|| {
        let nearest = nearest(name, algorithm_names());
        PrunaError::Algorithm { key: key.to_owned(), name: name.clone(), nearest }
    })
}

/// Follows `"fora": true`, `"fora": false` and `"fora": {"interval": 3}`.
fn switch(mention: &mut Mention, value: &Value) -> Result<(), PrunaError> {
    let algorithm = mention.algorithm;
    match value {
        Value::Bool(on) => mention.on = Some(*on),
        Value::String(text) if text.eq_ignore_ascii_case("true") => mention.on = Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => mention.on = Some(false),
        Value::Object(options) => {
            mention.on = Some(true);
            for (key, value) in options.iter().filter(|(_, value)| !value.is_null()) {
                let option =
                    key.strip_prefix(algorithm.name).and_then(|key| key.strip_prefix('_')).unwrap_or(key);
                if !algorithm.has(option) {
                    return Err(unknown(&algorithm.key(option)));
                }
                mention.options.insert(option.to_owned(), value.clone());
            }
        }
        other => {
            let why = format!("expected true, false or a table of its options, not {other}");
            return Err(PrunaError::value(algorithm.name, why));
        }
    }
    Ok(())
}

/// The entry of `algorithm`, created if absent.
fn mention<'m>(mentions: &'m mut Vec<Mention>, algorithm: &'static Algorithm) -> &'m mut Mention {
    let known = mentions.iter().position(|mention| mention.algorithm.name == algorithm.name);
    let index = known.unwrap_or_else(|| {
        mentions.push(Mention { algorithm, on: None, options: Map::new() });
        mentions.len() - 1
    });
    &mut mentions[index]
}

fn unknown(key: &str) -> PrunaError {
    PrunaError::Key { key: key.to_owned(), nearest: nearest_key(key) }
}

/// Whether saved configurations contain this value for settings that were not given.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(table) => table.is_empty(),
        _ => false,
    }
}
