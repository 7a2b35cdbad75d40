//! The manifest of a compiled model: what it was made of, and which files it has.

use super::error::CompiledError;
use crate::Error;
use crate::digest;
use reflux_ir::DType;
use reflux_models::{ConfigFile, Sizes};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// The format that this version writes and reads. Format 1 had no digests of what is copied.
pub const FORMAT: u64 = 2;

/// The folder of a compiled model's own files, in the model's folder, beside `reflux.json`.
pub const FOLDER: &str = "reflux";

/// The manifest's name in that folder.
pub const MANIFEST: &str = "manifest.json";

/// What a compiled model says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u64,
    /// The version of Reflux that wrote it.
    pub reflux: String,
    pub family: String,
    /// The name of the model that it was made from.
    pub model: String,
    /// The digest of samples of the weights, and of the LoRAs, that it was made from.
    pub source: String,
    pub dtype: DType,
    /// The device that it was made for.
    pub device: String,
    /// The cost table by which passes decided.
    pub machine: String,
    /// The passes that ran, as pipeline text.
    pub passes: String,
    pub programs: Vec<ProgramEntry>,
    pub weights: Vec<WeightsEntry>,
    /// Everything else in the model's folder.
    pub copied: Vec<CopiedEntry>,
    /// The types of the matrices that the model it was made from stores as codes, by name: programs of other sizes are lowered
    /// like the first.
    pub stored: BTreeMap<String, String>,
    /// The digest of all of the above.
    pub sha256: String,
}

/// A program for pictures of one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    pub file: String,
    pub sha256: String,
    pub sizes: SizesEntry,
    /// The time of each step, on which passes may have decided. Doubles, which JSON keeps exactly as floats.
    pub timesteps: Vec<f64>,
}

/// [`Sizes`] in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizesEntry {
    width: usize,
    height: usize,
    steps: usize,
    max_sequence_length: usize,
    batch: usize,
    /// Height and width in pixels.
    reference: Option<[usize; 2]>,
}

/// A file of weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsEntry {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    /// The length and the digest of what is before the tensors.
    pub header_bytes: u64,
    pub header_sha256: String,
}

/// A file that was copied from the model it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedEntry {
    /// Its place in the model's folder, with `/` between names on every system.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    /// Reads the manifest in `folder`, which is [`FOLDER`] of a model.
    ///
    /// # Errors
    /// If there is none, it is of another format, or has changed since it was written.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        if path.symlink_metadata().is_err() {
            return Err(CompiledError::Missing { path }.into());
        }
        let value: Value = ConfigFile::open(&path)?.json()?;
        let invalid = |why: String| CompiledError::Manifest { path: path.clone(), why };
        let format = value["format"].as_u64().ok_or_else(|| invalid("it has no `format`".to_owned()))?;
        if format != FORMAT {
            let reflux = value["reflux"].as_str().unwrap_or("of another version").to_owned();
            return Err(CompiledError::Format { path, format, reflux, known: FORMAT }.into());
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
        if manifest.digest() != manifest.sha256 {
            return Err(CompiledError::Changed { path }.into());
        }
        let programs = manifest.programs.iter().map(|entry| &entry.file);
        let mut files = programs.chain(manifest.weights.iter().map(|entry| &entry.file));
        let own = files.find(|file| Path::new(file).file_name() != Some(file.as_ref()));
        let mut copied = manifest.copied.iter().map(|entry| &entry.file);
        match own.or_else(|| copied.find(|file| !is_inside(file))) {
            Some(file) => Err(invalid(format!("`{file}` is outside its folder")).into()),
            None => Ok(manifest),
        }
    }

    /// It as text, with its digest.
    pub fn text(&self) -> String {
        let whole = Self { sha256: self.digest(), ..self.clone() };
        format!("{:#}\n", serde_json::to_value(whole).expect("it is plain data"))
    }

    fn digest(&self) -> String {
        let rest = Self { sha256: String::new(), ..self.clone() };
        digest::of_bytes(&serde_json::to_vec(&rest).expect("it is plain data"))
    }
}

/// Whether `file` names something in a folder, and in that alone.
fn is_inside(file: &str) -> bool {
    let mut names = Path::new(file).components().peekable();
    names.peek().is_some() && names.all(|name| matches!(name, Component::Normal(_)))
}

impl From<Sizes> for SizesEntry {
    fn from(sizes: Sizes) -> Self {
        let Sizes { batch, steps, text_tokens: max_sequence_length, height, width, reference } = sizes;
        Self { width, height, steps, max_sequence_length, batch, reference }
    }
}

impl From<SizesEntry> for Sizes {
    fn from(entry: SizesEntry) -> Self {
        let SizesEntry { width, height, steps, max_sequence_length: text_tokens, batch, reference } = entry;
        Self { batch, steps, text_tokens, height, width, reference }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_models::scheduler::{Schedule, SchedulerConfig};

    /// Whatever its times, a manifest is read as it was written.
    #[test]
    fn times_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height: 16, width: 16, reference: None };
        let program = |steps: usize| {
            let config = SchedulerConfig { use_dynamic_shifting: true, ..SchedulerConfig::default() };
            let schedule = Schedule::new(&config, steps, 64).unwrap();
            let timesteps = schedule.timesteps.into_iter().map(f64::from).collect();
            ProgramEntry { file: "a.ir".into(), sha256: String::new(), sizes: sizes.into(), timesteps }
        };
        let manifest = Manifest {
            format: FORMAT,
            reflux: String::new(),
            family: String::new(),
            model: String::new(),
            source: String::new(),
            dtype: DType::F32,
            device: String::new(),
            machine: String::new(),
            passes: String::new(),
            programs: (1..=50).map(program).collect(),
            weights: Vec::new(),
            copied: Vec::new(),
            stored: BTreeMap::new(),
            sha256: String::new(),
        };
        std::fs::write(folder.path().join(MANIFEST), manifest.text()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap().text(), manifest.text());
    }

    #[test]
    fn what_is_copied_is_in_the_folder() {
        for file in ["model_index.json", "vae/config.json", "a/b/c"] {
            assert!(is_inside(file), "{file}");
        }
        for file in ["", "..", "../a", "a/../../b", "/etc/passwd"] {
            assert!(!is_inside(file), "{file}");
        }
    }
}
