//! Damaged files of models, and what must hold of them: each is read or refused by one error of bounded length, without a panic,
//! in bounded time.

mod codes;
mod configs;
mod gguf;
mod loras;
mod safetensors;
mod tensors;
mod tokenizers;

use crate::check::{Failure, quietly};
use crate::run::{Found, Tally};
use cpu_time::ThreadTime;
use fastrand::Rng;
use reflux_ir::WeightSource;
use reflux_models::nets;
use reflux_models::weights::Weights;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What became of a file: the error, if it was refused.
type Outcome = Result<(), String>;

/// A kind of files.
trait Target {
    /// Writes damaged files to `folder`; returns the path of one that is damaged.
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf>;

    /// Reads what is in `folder`, and uses it.
    fn read(&self, folder: &Path, path: &Path) -> Outcome;
}

/// A run of many files, one after the other, in a folder of its own.
pub struct Files {
    seed: u64,
    /// An input that takes longer is a failure. Times are the processor's, of the thread that reads.
    longest: Option<Duration>,
    folder: TempDir,
    targets: Vec<(&'static str, Box<dyn Target>)>,
}

/// The folder of the bundled model.
fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/emoji")).to_owned()
}

/// A file of `tests/fixtures`.
fn fixture(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures")).join(path)
}

/// A file of the bundled model, from which most damaged ones are made.
fn original(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Opens the file of weights at `path` as each network's and as whatever it is, and reads every tensor as numbers and as codes.
fn read_weights(path: &Path) -> Outcome {
    for net in nets() {
        let _ = Weights::open_for(net, path).map_err(|error| error.to_string());
    }
    let weights = Weights::open(path).map_err(|error| error.to_string())?;
    for name in weights.names() {
        let tensor = weights.tensor(name).map_err(|error| error.to_string())?;
        assert_eq!(Some(&tensor.shape[..]), weights.shape(name), "{name} has two shapes");
        if let Some(codes) = weights.coded(name) {
            weights.weight(name, &codes).map_err(|error| error.to_string())?;
        }
    }
    let _ = weights.blank();
    Ok(())
}

impl Files {
    /// # Errors
    /// If there is no room for temporary files.
    pub fn new(seed: u64, longest: Option<Duration>) -> std::io::Result<Self> {
        let targets: Vec<(_, Box<dyn Target>)> = vec![
            ("safetensors", Box::new(safetensors::Files::default())),
            ("codes", Box::new(codes::Files)),
            ("GGUF", Box::new(gguf::Files)),
            ("LoRAs", Box::new(loras::Files::new())),
            ("configurations", Box::new(configs::Files::new())),
            ("tokenizers", Box::new(tokenizers::Files::new())),
        ];
        Ok(Self { seed, longest, folder: tempfile::tempdir()?, targets })
    }

    /// The kinds of files.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.targets.iter().map(|(kind, _)| *kind)
    }

    /// Tries input `index` and records the outcome in `tally`.
    pub fn try_input(&self, index: u64, tally: &mut Tally) {
        let (kind, outcome, mut time) = self.attempt(index);
        if self.longest.is_some_and(|longest| time > longest) {
            // Once more, as a machine that stands still counts too.
            time = time.min(self.attempt(index).2);
        }
        tally.inputs += 1;
        let (read, refused) = tally.files.entry(kind).or_default();
        match &outcome {
            Ok(Ok(())) => *read += 1,
            Ok(Err(_)) => *refused += 1,
            Err(_) => {}
        }
        if time > tally.slowest.1 {
            tally.slowest = (index, time);
        }
        let failure = match outcome {
            Ok(Err(error)) => check_error(&error).err(),
            Ok(Ok(())) => None,
            Err(failure) => Some(failure),
        };
        let too_slow = self.longest.is_some_and(|longest| time > longest);
        let failure = failure.or_else(|| too_slow.then(|| Failure::slowness(time)));
        if let Some(mut failure) = failure {
            failure.kind = format!("{kind}: {}", failure.kind);
            let is_new = tally.failures.iter().all(|known| known.failure.kind != failure.kind);
            tally.failures.push(Found { input: index, failure, is_new });
        }
    }

    fn attempt(&self, index: u64) -> (&'static str, Result<Outcome, Failure>, Duration) {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index));
        let (kind, target) = &self.targets[rng.usize(..self.targets.len())];
        let folder = self.folder.path();
        let path = match target.write(&mut rng, folder) {
            Ok(path) => path,
            Err(error) => panic!("no damaged files can be written: {error}"),
        };
        let start = ThreadTime::now();
        let outcome = quietly(kind, || target.read(folder, &path));
        (kind, outcome, start.elapsed())
    }

    /// What is damaged in input `index`, and where it lies until the next one is tried.
    pub fn reproducer(&self, index: u64) -> String {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index));
        let (kind, target) = &self.targets[rng.usize(..self.targets.len())];
        let shown = target.write(&mut rng, self.folder.path()).and_then(std::fs::read);
        let shown = shown.map(|bytes| String::from_utf8_lossy(&bytes).chars().take(2_000).collect());
        format!("{kind}: {}", shown.unwrap_or_else(|error: std::io::Error| error.to_string()))
    }
}

/// What must hold of every error.
fn check_error(error: &str) -> Result<(), Failure> {
    const LONGEST: usize = 5_000;
    if error.is_empty() {
        return Err(Failure::new("the error says nothing"));
    }
    let length = error.chars().count();
    if length <= LONGEST {
        Ok(())
    } else {
        Err(Failure::new(format!("the error is long: {length} characters")))
    }
}
