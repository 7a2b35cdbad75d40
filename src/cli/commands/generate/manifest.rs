//! The manifest of a list of pictures: which are done, and how each was made.

use crate::Error;
use crate::digest::of_file;
use crate::files::OutputFile;
use crate::json_lines::{JsonLines, parse};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// What decides how a picture looks, by the names of its metadata.
pub type Settings = BTreeMap<String, String>;

/// A line of the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The picture, as `--out` names it.
    pub file: PathBuf,
    /// Of the file, in hexadecimal digits.
    pub sha256: String,
    #[serde(flatten)]
    pub settings: Settings,
}

/// Objects of JSON, one a line, each written when its picture is.
pub struct Manifest {
    lines: JsonLines,
    known: HashMap<PathBuf, Entry>,
}

impl Manifest {
    /// The manifest at `path`, where a new list begins, or an earlier one goes on if `resume` is set.
    ///
    /// # Errors
    /// If it cannot be written; [`Error::Usage`] if there is one and nobody said to go on, or what is there is none.
    pub fn open(path: &Path, resume: bool) -> Result<Self, Error> {
        let output = OutputFile::at(path)?;
        let usage = |why: &str| Error::Usage(format!("{}: {why}", path.display()));
        if !output.is_file() {
            return Err(usage("the manifest must be a file; name one with --manifest"));
        }
        let known = match std::fs::read_to_string(path) {
            Ok(text) if !resume && !text.is_empty() => {
                return Err(usage(
                    "it says what an earlier run has made; add --resume to go on, or remove it to begin anew",
                ));
            }
            Ok(text) => parse(&text).map_err(|why| {
                usage(&format!("{why}, which is no line of a manifest; name another file with --manifest"))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::Read { path: path.to_owned(), error }),
        };
        let lines = JsonLines::after(path, &known)?;
        let known = known.into_iter().map(|entry: Entry| (entry.file.clone(), entry)).collect();
        Ok(Self { lines, known })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.lines.path()
    }

    /// Whether `file` is there as it was made with `settings`.
    pub fn has(&self, file: &Path, settings: &Settings) -> bool {
        let entry = self.known.get(file).filter(|entry| entry.settings == *settings);
        entry.is_some_and(|entry| sha256(file).is_ok_and(|sha256| sha256 == entry.sha256))
    }

    /// By what the picture `file` that an earlier run has made differs from one of `settings`, in words; none if that run has made none,
    /// or the same.
    pub fn difference(&self, file: &Path, settings: &Settings) -> Option<String> {
        let made = &self.known.get(file)?.settings;
        let names = made.keys().chain(settings.keys());
        let name = names.into_iter().find(|name| made.get(*name) != settings.get(*name))?;
        let [made, now] = [made, settings].map(|of| of.get(name).map_or("nothing", String::as_str));
        Some(format!("{} was made with {name} {made}, and this run has {now}", file.display()))
    }

    /// Adds a picture that has been written to `file`.
    ///
    /// # Errors
    /// If the file cannot be read back, or the line cannot be written.
    pub fn add(&mut self, file: &Path, settings: &Settings) -> Result<Entry, Error> {
        let sha256 = sha256(file).map_err(|error| Error::Read { path: file.to_owned(), error })?;
        let entry = Entry { file: file.to_owned(), sha256, settings: settings.clone() };
        self.lines.add(&entry)?;
        Ok(entry)
    }
}

/// The digest of a whole file.
fn sha256(file: &Path) -> std::io::Result<String> {
    of_file(file, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let [path, picture] = ["manifest.jsonl", "a.png"].map(|name| folder.path().join(name));
        let settings = |seed: &str| Settings::from([("seed".to_owned(), seed.to_owned())]);
        std::fs::write(&picture, "a picture").unwrap();
        let mut manifest = Manifest::open(&path, false).unwrap();
        assert!(!manifest.has(&picture, &settings("1")));
        manifest.add(&picture, &settings("1")).unwrap();
        drop(manifest);
        let error = Manifest::open(&path, false).err().expect("there is one").to_string();
        assert!(error.contains("add --resume"), "{error}");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"file\": \"b.p")).unwrap();
        let manifest = Manifest::open(&path, true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        assert!(manifest.has(&picture, &settings("1")));
        // Made with another seed, changed, or gone.
        assert!(!manifest.has(&picture, &settings("2")));
        let difference = manifest.difference(&picture, &settings("2")).unwrap();
        assert!(difference.ends_with("a.png was made with seed 1, and this run has 2"), "{difference}");
        assert_eq!(manifest.difference(&picture, &settings("1")), None);
        std::fs::write(&picture, "another picture").unwrap();
        assert!(!manifest.has(&picture, &settings("1")));
        std::fs::remove_file(&picture).unwrap();
        assert!(!manifest.has(&picture, &settings("1")));
        // What is no manifest stays as it is.
        std::fs::write(&path, "my notes\n").unwrap();
        let error = Manifest::open(&path, true).err().expect("it is none").to_string();
        assert!(error.contains("line 1 cannot be read"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes\n");
    }
}
