//! The errors of candidates that have run, kept in a file, so that a search can go on where it was stopped.

use super::predictor::PREDICTORS;
use crate::Error;
use crate::json_lines::{self, JsonLines};
use crate::pipeline::registry::registry;
use reflux_ir::pass::Pipeline;
use reflux_ir::words;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;

/// More than any distance of latents or pixels.
const MOST_ERROR: f64 = 1e9;

/// Objects of JSON, one a line: first what is searched, then a candidate each.
pub struct Journal {
    lines: JsonLines,
    /// By the text of the pass.
    known: HashMap<String, Known>,
}

/// The error of a candidate: as it is, or as much as some of the pictures alone make of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub error: f64,
    pub is_whole: bool,
}

/// A candidate that has run.
#[derive(Serialize, Deserialize)]
struct Judged {
    pass: String,
    error: f64,
    /// Present where not all pictures ran, as some were enough to see that it is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl Journal {
    /// The journal at `path` of a search with these `settings`, which goes on with what is there if `resume` is set.
    ///
    /// # Errors
    /// If it cannot be written; [`Error::Usage`] if there is one and nobody said to go on, or it is of another search.
    pub fn open(path: &Path, settings: &Map<String, Value>, resume: bool) -> Result<Self, Error> {
        let usage = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) if !resume && !text.is_empty() => {
                let why = "it has what an earlier search has tried; add --resume to go on, or remove it to begin anew";
                return Err(usage(why.into()));
            }
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::Read { path: path.to_owned(), error }),
        };
        let mut lines: Vec<Value> = json_lines::parse(&text).map_err(|why| {
            usage(format!("it is no record of a search: {why}; name another file with --out"))
        })?;
        match lines.first() {
            None => lines.push(Value::Object(settings.clone())),
            Some(found) => differs(found, settings).map_or(Ok(()), |why| Err(usage(why)))?,
        }
        let judged = |(index, line): (usize, &Value)| {
            let none = |why: String| {
                usage(format!(
                    "line {} is no candidate that was tried: {why}; remove the file to begin anew",
                    index + 2
                ))
            };
            let read =
                Judged::deserialize(line).map_err(|error| none(words::of_serde(&error.to_string())))?;
            let Judged { pass, error, partial } = read;
            if !(0.0..=MOST_ERROR).contains(&error) {
                return Err(none(format!(
                    "its error is {error:?}, which is not between 0 and {MOST_ERROR:e}"
                )));
            }
            refuse_other(&pass).map_err(none)?;
            Ok((pass, Known { error, is_whole: !partial }))
        };
        let known = lines[1..].iter().enumerate().map(judged).collect::<Result<_, _>>()?;
        Ok(Self { lines: JsonLines::after(path, &lines)?, known })
    }

    /// How many candidates have run.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// The error of `pass`, if it has run.
    pub fn of(&self, pass: &str) -> Option<Known> {
        self.known.get(pass).copied()
    }

    /// Adds what has run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, pass: String, known: Known) -> Result<(), Error> {
        let Known { error, is_whole } = known;
        self.lines.add(&Judged { pass: pass.clone(), error, partial: !is_whole })?;
        self.known.insert(pass, known);
        Ok(())
    }
}

/// Refuses what no search tries: passes that are unknown, several, or no cache.
fn refuse_other(pass: &str) -> Result<(), String> {
    let found = Pipeline::parse(pass, &registry()).map_err(|error| error.to_string())?;
    let names: Vec<&str> = found.passes().map(|pass| pass.name()).collect();
    let options = found.passes().next().map(|pass| pass.options()).unwrap_or_default();
    let is_tried = |method: &str| PREDICTORS.contains(&method);
    match options.get("method").and_then(Value::as_str) {
        Some(method) if names == ["cache"] && is_tried(method) => Ok(()),
        _ => Err(format!("`{pass}` is not one of {}, with the steps that compute", PREDICTORS.join(", "))),
    }
}

/// By what the search of the journal whose first line is `found` differs from that of `settings`, if it does.
fn differs(found: &Value, settings: &Map<String, Value>) -> Option<String> {
    let Some(found) = found.as_object().filter(|found| found.contains_key("objective")) else {
        return Some("it is no record of a search; name another file with --out".into());
    };
    let name = settings.iter().find(|(name, value)| found.get(*name) != Some(value)).map(|(name, _)| name);
    let name = name.or_else(|| found.keys().find(|name| !settings.contains_key(*name)))?;
    let shown = |settings: &Map<String, Value>| settings.get(name).map_or("nothing".into(), Value::to_string);
    Some(format!(
        "it is of a search with {name} {}, and this one has {}; remove it to begin anew",
        shown(found),
        shown(settings)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let settings = |steps: usize| {
            Map::from_iter([("objective".to_owned(), json!("latents")), ("steps".to_owned(), json!(steps))])
        };
        let mut journal = Journal::open(&path, &settings(20), false).unwrap();
        let error = Known { error: 0.123_456_789_012_345_67, is_whole: true };
        journal.add("cache(fora,steps=1010)".into(), Known { error: 0.1, is_whole: false }).unwrap();
        journal.add("cache(fora,steps=1010)".into(), error).unwrap();
        let refused = |settings, resume| Journal::open(&path, &settings, resume).err().unwrap().to_string();
        assert!(refused(settings(20), false).contains("--resume"));
        assert!(refused(settings(28), true).contains("steps 20, and this one has 28"));
        let text = std::fs::read_to_string(&path).unwrap();
        drop(journal);
        std::fs::write(&path, format!("{text}{{\"pass\": \"ca")).unwrap();
        let journal = Journal::open(&path, &settings(20), true).unwrap();
        assert_eq!(
            (journal.of("cache(fora,steps=1010)"), journal.of("cache(fora,steps=1100)")),
            (Some(error), None)
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        // Of two searches at once, the second is refused.
        assert!(refused(settings(20), true).contains("another run is writing to it"));
        drop(journal);
        std::fs::write(&path, format!("{text}{{}}\n")).unwrap();
        assert!(refused(settings(20), true).contains("line 4 is no candidate"));
        std::fs::write(&path, "my notes\n").unwrap();
        assert!(refused(settings(20), true).contains("no record of a search"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\n");
    }
}
