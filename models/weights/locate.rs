//! Which files a path to weights stands for.

use super::WeightsError;
use super::unique::UniqueMap;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

const INDEX: &str = ".safetensors.index.json";
const SAFETENSORS: &str = ".safetensors";

/// What diffusers and transformers call the weights of a model unless asked for a variant.
const DEFAULTS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// What `torch.save` and friends call their files.
const PICKLES: [&str; 6] = ["bin", "ckpt", "pickle", "pkl", "pt", "pth"];

/// The safetensors files to open.
pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
    /// The index that named them, if they are shards.
    pub(super) index: Option<Index>,
}

/// The files that `path`, a file, an index or a folder, stands for.
pub(super) fn locate(path: &Path) -> Result<Found, WeightsError> {
    let file = if path.is_dir() { choose(path)? } else { path.to_owned() };
    if is_pickle(&file) {
        return Err(WeightsError::Pickle { path: file });
    }
    if !name(&file).ends_with(INDEX) {
        return Ok(Found { files: vec![file], index: None });
    }
    let index = Index::read(file)?;
    Ok(Found { files: index.shards()?, index: Some(index) })
}

/// The one index or, failing that, the one safetensors file of a folder.
fn choose(folder: &Path) -> Result<PathBuf, WeightsError> {
    let unreadable = |source| WeightsError::Unreadable { path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(unreadable)?;
    entries.sort();
    for suffix in [INDEX, SAFETENSORS] {
        let candidates: Vec<&PathBuf> = entries.iter().filter(|path| name(path).ends_with(suffix)).collect();
        let is_default =
            |path: &PathBuf| DEFAULTS.iter().any(|stem| name(path).strip_suffix(suffix) == Some(stem));
        let defaults: Vec<&PathBuf> = candidates.iter().copied().filter(|path| is_default(path)).collect();
        match (candidates.as_slice(), defaults.as_slice()) {
            ([], _) => continue,
            ([one], _) | (_, [one]) => return Ok(PathBuf::clone(one)),
            (many, _) => {
                let names = many.iter().map(|path| name(path).to_owned()).collect();
                return Err(WeightsError::Ambiguous { folder: folder.to_owned(), names });
            }
        }
    }
    // A pickle is returned so as to be refused by name.
    entries
        .into_iter()
        .find(|path| is_pickle(path))
        .ok_or_else(|| WeightsError::Empty { folder: folder.to_owned() })
}

fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    PICKLES.iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
}

/// The file name; that of a file whose name is no UTF-8 is of no interest here.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A `*.safetensors.index.json`.
pub(super) struct Index {
    path: PathBuf,
    /// The shard of each tensor, relative to the index's folder.
    shard_of: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IndexJson {
    weight_map: UniqueMap<String>,
}

impl Index {
    fn read(path: PathBuf) -> Result<Self, WeightsError> {
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(source) => return Err(WeightsError::Unreadable { path, source }),
        };
        match serde_json::from_slice::<IndexJson>(&json) {
            Ok(IndexJson { weight_map: UniqueMap(shard_of) }) => Ok(Self { path, shard_of }),
            Err(error) => Err(WeightsError::Index { path, why: error.to_string() }),
        }
    }

    fn locate(&self, shard: &str) -> PathBuf {
        self.path.with_file_name(shard)
    }

    /// The paths of all shards.
    fn shards(&self) -> Result<Vec<PathBuf>, WeightsError> {
        let shards: BTreeSet<&String> = self.shard_of.values().collect();
        shards.into_iter().map(|shard| self.shard(shard)).collect()
    }

    fn shard(&self, shard: &str) -> Result<PathBuf, WeightsError> {
        let relative = Path::new(shard);
        let inside = relative.components().all(|component| matches!(component, Component::Normal(_)));
        if !inside || shard.is_empty() {
            return Err(WeightsError::Outside { index: self.path.clone(), shard: shard.to_owned() });
        }
        if is_pickle(relative) {
            return Err(WeightsError::Pickle { path: self.locate(shard) });
        }
        let path = self.locate(shard);
        if path.exists() {
            Ok(path)
        } else {
            Err(WeightsError::MissingShard { index: self.path.clone(), shard: shard.to_owned() })
        }
    }

    /// Checks that every tensor is in its shard; `file_of` tells the file that holds a tensor.
    pub(super) fn verify<'a>(&self, file_of: impl Fn(&str) -> Option<&'a Path>) -> Result<(), WeightsError> {
        for (tensor, shard) in &self.shard_of {
            if file_of(tensor) != Some(&self.locate(shard)) {
                return Err(WeightsError::NotInShard {
                    index: self.path.clone(),
                    shard: shard.clone(),
                    tensor: tensor.clone(),
                });
            }
        }
        Ok(())
    }
}
