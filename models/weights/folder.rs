//! The weight files in a folder.
//!
//! diffusers and transformers save `STEM.safetensors`, or shards `STEM-00001-of-00003.safetensors` with an index
//! `STEM.safetensors.index.json`. A variant, such as `fp16`, is part of these names: `STEM.fp16.safetensors`,
//! `STEM.safetensors.index.fp16.json`, and shards `STEM.fp16-00001-of-00003.safetensors`.

use super::error::WeightsError;
use super::names::{file_name, is_pickle};
use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

/// What is between an index's stem and its variant.
const INDEX: &str = ".safetensors.index.";

/// Extensions of files of weights; the second is what Black Forest Labs called safetensors at first.
const EXTENSIONS: [&str; 3] = [".safetensors", ".sft", ".gguf"];

/// The names of weight files of diffusers and transformers.
const DEFAULTS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// Their names of LoRA files, which are not weights of the model.
const ADAPTERS: [&str; 2] = ["pytorch_lora_weights", "adapter_model"];

/// Extensions of unfinished downloads.
const UNFINISHED: [&str; 7] = ["incomplete", "part", "partial", "crdownload", "download", "aria2", "tmp"];

/// The weights of a folder.
pub(super) enum Choice {
    /// One file, or an index.
    File(PathBuf),
    /// All shards of a set that has no index.
    Shards(Vec<PathBuf>),
}

/// Whether a file of this name is an index of shards.
pub(super) fn is_index(name: &str) -> bool {
    name.contains(INDEX) && name.ends_with(".json")
}

/// How likely a set is what is meant; the least is the likeliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Of a name by which libraries look for weights.
    Default,
    /// Of any other name.
    Other,
    /// A file with such a name and a variant.
    Variant,
    Adapter,
}

/// What a file of weights is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FileForm {
    Index,
    /// One of so many.
    Shard(usize),
    Whole,
}

/// The name of a file of weights.
struct ParsedName<'a> {
    /// Without extension, index and number; with the variant.
    set: &'a str,
    rank: Rank,
    form: FileForm,
}

impl<'a> ParsedName<'a> {
    fn of(name: &'a str) -> Option<Self> {
        if is_index(name) {
            let (stem, rest) = name.split_once(INDEX)?;
            let rank = if rest == "json" { Rank::of(stem) } else { Rank::Variant };
            return Some(Self { set: name, rank, form: FileForm::Index });
        }
        let stem = EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension))?;
        match shard_of(stem) {
            Some((set, of)) => Some(Self { set, rank: Rank::of(set), form: FileForm::Shard(of) }),
            None => Some(Self { set: name, rank: Rank::of(stem), form: FileForm::Whole }),
        }
    }
}

impl Rank {
    fn of(stem: &str) -> Self {
        let (first, variant) = stem.split_once('.').map_or((stem, false), |(first, _)| (first, true));
        match (DEFAULTS.contains(&first), variant) {
            (true, false) => Self::Default,
            (true, true) => Self::Variant,
            _ if ADAPTERS.contains(&first) => Self::Adapter,
            _ => Self::Other,
        }
    }
}

/// `model.fp16-00001-of-00003` is of the set `model.fp16`, of three. (Older files have the variant behind the number.)
fn shard_of(stem: &str) -> Option<(&str, usize)> {
    let (numbered, _variant) = match stem.rsplit_once('.') {
        Some((before, after)) if before.contains("-of-") && !after.contains("-of-") => (before, after),
        _ => (stem, ""),
    };
    let (rest, of) = numbered.rsplit_once("-of-")?;
    let (set, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(of)).then(|| Some((set, of.parse().ok()?)))?
}

/// Of how many shards the file `name` is one, if it is one of several.
pub(super) fn is_shard_of(name: &str) -> Option<usize> {
    match ParsedName::of(name)?.form {
        FileForm::Shard(of) if of > 1 => Some(of),
        _ => None,
    }
}

/// The one set of weights of a folder, or the likeliest.
pub(super) fn choose(folder: &Path) -> Result<Choice, WeightsError> {
    let unreadable = |source| WeightsError::Unreadable { path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(unreadable)?;
    entries.sort();
    // Sets by how likely they are; with an index, its shards need not be looked at.
    let mut sets: BTreeMap<(Rank, FileForm, &str), Vec<&PathBuf>> = BTreeMap::new();
    for path in &entries {
        if let Some(ParsedName { set, rank, form }) = ParsedName::of(file_name(path)) {
            sets.entry((rank, form, set)).or_default().push(path);
        }
    }
    let Some((&(rank, form, set), files)) = sets.first_key_value() else {
        return Err(nothing(folder, &entries));
    };
    let is_rival = |other: Rank, kind: FileForm| other == rank && discriminant(&kind) == discriminant(&form);
    let rivals = sets.keys().filter(|(rank, form, _)| is_rival(*rank, *form));
    let rivals: Vec<String> = rivals.map(|(.., set)| (*set).to_owned()).collect();
    if rivals.len() > 1 {
        return Err(WeightsError::Ambiguous { folder: folder.to_owned(), names: rivals });
    }
    match form {
        FileForm::Shard(of) if files.len() != of => {
            let (name, have) = (set.to_owned(), files.len());
            Err(WeightsError::MissingShards { folder: folder.to_owned(), name, have, of })
        }
        FileForm::Shard(_) => Ok(Choice::Shards(files.iter().map(|path| path.to_path_buf()).collect())),
        _ => Ok(Choice::File(files[0].clone())),
    }
}

/// What to say of a folder without weights.
fn nothing(folder: &Path, entries: &[PathBuf]) -> WeightsError {
    let folder = folder.to_owned();
    let extension =
        |path: &Path| path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if let Some(path) = entries.iter().find(|path| is_pickle(path)) {
        return WeightsError::Pickle { path: path.clone() };
    }
    match entries.iter().find(|path| UNFINISHED.contains(&extension(path).as_str())) {
        Some(path) => WeightsError::Unfinished { folder, name: file_name(path).to_owned() },
        None => WeightsError::Empty { folder },
    }
}
