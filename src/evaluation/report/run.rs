//! What `reflux eval` has left in a folder.

use super::check;
use crate::Error;
use crate::evaluation::{Evaluation, Row};
use reflux_ir::words;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file in the folder.
const FILE: &str = "evaluation.json";

/// A thousand prompts by a hundred rows take a tenth of it.
const LONGEST: u64 = 1 << 28;

/// One or several evaluations that can be compared, as one.
#[derive(Debug)]
pub struct Run {
    pub evaluation: Evaluation,
    /// The folder of each row's pictures.
    pub folders: Vec<PathBuf>,
    /// What is wrong with it, in sentences that name the folder.
    pub warnings: Vec<String>,
}

impl Run {
    /// The evaluation in `folder`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] if there is none, or it is damaged or contradicts itself.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let refuse = |why: String| Error::Evaluation { path: path.clone(), why };
        let text = read(folder, &path).map_err(refuse)?;
        let (evaluation, unknown) = parse(&text).map_err(refuse)?;
        let found = check::check(&evaluation).map_err(refuse)?;
        let mut warnings: Vec<String> = Vec::new();
        if !unknown.is_empty() {
            let (names, version) = (unknown.join(", "), &evaluation.version);
            warnings.push(format!("{names} is not known here and left out (written by Reflux {version})"));
        }
        warnings.extend(found);
        let warnings = warnings.into_iter().map(|why| format!("{}: {why}", path.display())).collect();
        let folders = vec![folder.to_owned(); evaluation.rows.len()];
        Ok(Self { evaluation, folders, warnings })
    }

    /// What all others are compared with.
    pub fn base(&self) -> &Row {
        &self.evaluation.rows[0]
    }
}

fn read(folder: &Path, path: &Path) -> Result<String, String> {
    let hint = "give a folder that `reflux eval` has written";
    if folder.is_dir() && !path.exists() {
        return Err(format!("there is no such file; {hint}"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("{}; {hint}", words::of_io(&error))),
        Ok(length) if length as u64 > LONGEST => Err(format!("it is longer than 256 MiB; {hint}")),
        Ok(_) => Ok(text),
    }
}

/// An evaluation, and the names in it that are not known here.
fn parse(text: &str) -> Result<(Evaluation, Vec<String>), String> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let read: Result<Evaluation, _> =
        serde_ignored::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track), |path| {
            unknown.push(format!("`{path}`"))
        });
    let place = track.path().to_string();
    let evaluation = read.and_then(|evaluation| json.end().map(|()| evaluation)).map_err(|error| {
        if error.is_eof() {
            return "it ends in the middle; run `reflux eval` again, which goes on where it stopped"
                .to_owned();
        }
        let place = if place == "." { String::new() } else { format!("{place}: ") };
        let found = words::of_serde(&error.to_string());
        let null = if found.contains("null") { " (NaN and infinity are written so)" } else { "" };
        format!("{place}{found}{null}{}", of_version(text))
    })?;
    unknown.dedup();
    Ok((evaluation, unknown))
}

/// Whose file it is, if another version has written it.
fn of_version(text: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let version = value.as_ref().and_then(|value| value.get("version")).and_then(|version| version.as_str());
    match version {
        Some(version) if version != crate::VERSION => {
            let own = crate::VERSION;
            format!(
                "; it was written by Reflux {version}, and this is {own}: make the page with that version"
            )
        }
        _ => String::new(),
    }
}
