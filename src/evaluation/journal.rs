//! The folder of an evaluation: where its files go, and what of it is done, line by line.

use super::emoji::Shown;
use super::networks::NetworkMetric;
use super::plan::{BASE, Plan};
use super::plausible::{self, Number, Range};
use super::summary::{PassSummary, PictureResult};
use crate::Error;
use crate::digest::of_file;
use crate::json_lines::{JsonLines, parse};
use crate::pipeline::StageTime;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file of lines.
const JOURNAL: &str = "journal.jsonl";

/// Where pictures go, each row's in a folder of its own.
const PICTURES: &str = "pictures";

/// Where the base's latents go.
const LATENTS: &str = "latents";

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Plan(Box<Plan>),
    /// A row is begun.
    Row(RowFacts),
    /// A picture is done, with all its files.
    Picture(Box<Drawn>),
    /// A picture was drawn once more, only to measure its time.
    Again { row: String, timing: Timing },
    /// With how many steps the base is measured too, as the configs' times had it.
    FewerSteps(Vec<usize>),
    /// The network that judges pictures by this metric, with the digest of its file in hexadecimal.
    Network { metric: NetworkMetric, sha256: String },
    /// What it says of a picture.
    Score { row: String, index: usize, metric: NetworkMetric, value: f64, of: Judged },
}

/// The digests of the pictures that a network has judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub picture: String,
    /// The base's, where the metric compares with it.
    pub base: Option<String>,
}

/// What is the same for all pictures of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowFacts {
    pub row: String,
    pub passes: String,
    pub weight_bytes: u64,
    pub graph: Vec<PassSummary>,
}

/// How long a picture took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    pub seconds: f64,
    pub stages: Vec<StageTime>,
    /// Whether something was loaded or compiled for it.
    pub is_cold: bool,
}

/// A picture that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    pub row: String,
    /// The number of its prompt, from 0.
    pub index: usize,
    pub result: PictureResult,
    /// The digest of the file of its latents, if it is the base's.
    pub latents_sha256: Option<String>,
    pub timing: Timing,
    pub peak_bytes: Option<u64>,
    /// What it shows of what its prompt asks for, if that can be told.
    pub shown: Option<Shown>,
    /// Those that no earlier picture of the row had.
    pub warnings: Vec<String>,
}

impl Entry {
    /// What was measured, with its place in the line.
    fn numbers(&self) -> Vec<Number> {
        match self {
            Self::Picture(drawn) => {
                let Drawn { result, timing, .. } = &**drawn;
                [plausible::of_picture("result.", result), timing.numbers()].concat()
            }
            Self::Again { timing, .. } => timing.numbers(),
            Self::FewerSteps(steps) => {
                steps.iter().map(|&steps| ("fewer-steps".to_owned(), steps as f64, Range::Steps)).collect()
            }
            Self::Score { metric, value, .. } => vec![plausible::of_score("", *metric, *value)],
            Self::Plan(_) | Self::Row(_) | Self::Network { .. } => Vec::new(),
        }
    }
}

impl Timing {
    fn numbers(&self) -> Vec<Number> {
        let all = ("timing.seconds".to_owned(), self.seconds, Range::Seconds);
        [vec![all], plausible::of_stages("timing.stages", &self.stages)].concat()
    }
}

/// What an earlier run has left in a folder.
pub struct Earlier {
    entries: Vec<Entry>,
}

impl Earlier {
    /// Of the evaluation in `folder`, which must be new or empty unless `resume` is set.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is something, and nobody said to go on, or it is no evaluation.
    pub fn read(folder: &Path, resume: bool) -> Result<Self, Error> {
        let usage = |why: String| Error::Usage(format!("{}: {why}", folder.display()));
        let unread = |error| Error::Read { path: folder.to_owned(), error };
        let is_empty = match std::fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(usage("it is not a folder; name a new one".into()));
            }
            Err(error) => return Err(unread(error)),
        };
        if is_empty {
            return Ok(Self { entries: Vec::new() });
        }
        if !resume {
            return Err(usage(
                "the folder is not empty; add --resume to go on with the evaluation in it, or name another"
                    .into(),
            ));
        }
        let path = folder.join(JOURNAL);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                usage(format!("there is no evaluation to go on with, as it has no {JOURNAL}"))
            }
            _ => Error::Read { path: path.clone(), error },
        })?;
        let refuse = |why: String| Error::Usage(format!("{}: {why}; name another folder", path.display()));
        let entries: Vec<Entry> = parse(&text).map_err(refuse)?;
        for (line, entry) in (1..).zip(&entries) {
            let checked = plausible::check(entry.numbers());
            checked.map_err(|why| refuse(format!("line {line} cannot be true: {why}")))?;
        }
        Ok(Self { entries })
    }

    /// Whether a row was begun.
    pub fn has_begun(&self, row: &str) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Row(facts) if facts.row == row))
    }

    /// Refuses to go on with another plan.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self, folder: &Path, plan: &Plan) -> Result<(), Error> {
        let earlier = self.entries.first().map(|entry| match entry {
            Entry::Plan(earlier) => plan.difference(earlier),
            _ => Some("its first line is no plan".to_owned()),
        });
        match earlier.flatten() {
            None => Ok(()),
            Some(difference) => Err(Error::Usage(format!(
                "{}: the evaluation in it is another one: {difference}; name another folder, or give the same options",
                folder.display()
            ))),
        }
    }
}

/// An evaluation's folder, and what is done.
pub struct Journal {
    folder: PathBuf,
    lines: JsonLines,
    rows: HashMap<String, RowFacts>,
    pictures: HashMap<(String, usize), Drawn>,
    again: HashMap<String, Vec<Timing>>,
    fewer_steps: Option<Vec<usize>>,
    networks: BTreeMap<NetworkMetric, String>,
    /// By row, prompt and metric.
    scores: HashMap<(String, usize, NetworkMetric), (f64, Judged)>,
}

impl Journal {
    /// Begins an evaluation in `folder`, which is made, or goes on with an earlier one.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(folder: &Path, plan: &Plan, earlier: Earlier) -> Result<Self, Error> {
        let mut entries = earlier.entries;
        if entries.is_empty() {
            entries.push(Entry::Plan(Box::new(plan.clone())));
        }
        make(folder)?;
        for inner in [PICTURES, LATENTS] {
            make(&folder.join(inner))?;
        }
        let lines = JsonLines::after(&folder.join(JOURNAL), &entries)?;
        let mut journal = Self {
            folder: folder.to_owned(),
            lines,
            rows: HashMap::new(),
            pictures: HashMap::new(),
            again: HashMap::new(),
            fewer_steps: None,
            networks: BTreeMap::new(),
            scores: HashMap::new(),
        };
        entries.into_iter().for_each(|entry| journal.take(entry));
        Ok(journal)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn add(&mut self, entry: Entry) -> Result<(), Error> {
        self.lines.add(&entry)?;
        self.take(entry);
        Ok(())
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Plan(_) => {}
            Entry::Row(facts) => {
                self.rows.insert(facts.row.clone(), facts);
            }
            // The last counts.
            Entry::Picture(drawn) => {
                self.pictures.insert((drawn.row.clone(), drawn.index), *drawn);
            }
            Entry::Again { row, timing } => self.again.entry(row).or_default().push(timing),
            Entry::FewerSteps(steps) => self.fewer_steps = Some(steps),
            Entry::Network { metric, sha256 } => {
                self.networks.insert(metric, sha256);
            }
            Entry::Score { row, index, metric, value, of } => {
                self.scores.insert((row, index, metric), (value, of));
            }
        }
    }

    /// What is the same for all pictures of a row, if it was begun.
    pub fn row(&self, row: &str) -> Option<&RowFacts> {
        self.rows.get(row)
    }

    /// A picture, if it was done once.
    pub fn picture(&self, row: &str, index: usize) -> Option<&Drawn> {
        self.pictures.get(&(row.to_owned(), index))
    }

    /// Whether all files of a picture are there as they were written.
    pub fn has(&self, row: &str, index: usize) -> bool {
        let is_there =
            |path: &Path, sha256: &str| of_file(path, u64::MAX).is_ok_and(|digest| digest == sha256);
        self.picture(row, index).is_some_and(|drawn| {
            let latents = drawn.latents_sha256.as_ref();
            is_there(&self.folder.join(&drawn.result.file), &drawn.result.sha256)
                && latents.is_none_or(|sha256| is_there(&self.latents(index), sha256))
        })
    }

    /// Times of pictures that were drawn once more.
    pub fn again(&self, row: &str) -> &[Timing] {
        self.again.get(row).map_or(&[], Vec::as_slice)
    }

    /// The networks that judge pictures, with the digests of their files.
    pub fn networks(&self) -> &BTreeMap<NetworkMetric, String> {
        &self.networks
    }

    /// What a network says of a picture, if it was asked about the picture that is there now.
    pub fn score(&self, row: &str, index: usize, metric: NetworkMetric) -> Option<f64> {
        let (value, of) = self.scores.get(&(row.to_owned(), index, metric))?;
        (Some(of) == self.judged(row, index, metric).as_ref()).then_some(*value)
    }

    /// The pictures of which `metric` says something for a row and a prompt; none if they are not drawn.
    pub fn judged(&self, row: &str, index: usize, metric: NetworkMetric) -> Option<Judged> {
        let digest = |row: &str| Some(self.picture(row, index)?.result.sha256.clone());
        let base = if metric.compares() { Some(digest(BASE)?) } else { None };
        Some(Judged { picture: digest(row)?, base })
    }

    /// With how many steps the base is measured too, if that was chosen.
    pub fn fewer_steps(&self) -> Option<&[usize]> {
        self.fewer_steps.as_deref()
    }

    /// The name of a picture's file in the folder. The folder that it is in is there afterwards.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn picture_file(&self, row: &str, index: usize) -> Result<PathBuf, Error> {
        let folder = Path::new(PICTURES).join(row);
        make(&self.folder.join(&folder))?;
        Ok(folder.join(format!("{index:03}.png")))
    }

    /// Where a file in the folder is.
    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.folder.join(file)
    }

    /// Where the base's latents after each step of a picture are.
    pub fn latents(&self, index: usize) -> PathBuf {
        self.folder.join(LATENTS).join(format!("{index:03}.safetensors"))
    }
}

/// Makes a folder, unless it is there.
fn make(folder: &Path) -> Result<(), Error> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::Write { path: folder.to_owned(), error })
        }
        _ => Ok(()),
    }
}
