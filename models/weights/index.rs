//! Index files of sharded checkpoints.

use super::error::WeightsError;
use super::names::is_pickle;
use super::unique::UniqueMap;
use crate::{first_bytes, json};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

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
    pub(super) fn read(path: PathBuf) -> Result<Self, WeightsError> {
        let json = match first_bytes::read(&path) {
            Ok(json) => json,
            Err(source) => return Err(WeightsError::Unreadable { path, source }),
        };
        match json::parse::<IndexJson>(&json, "download it again") {
            Ok(IndexJson { weight_map: UniqueMap(shard_of) }) => Ok(Self { path, shard_of }),
            Err(why) => Err(WeightsError::Index { path, why }),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn locate(&self, shard: &str) -> PathBuf {
        self.path.with_file_name(shard)
    }

    /// The paths of all shards.
    pub(super) fn shards(&self) -> Result<Vec<PathBuf>, WeightsError> {
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
        // A link to nowhere is said to be one when it is opened.
        if path.symlink_metadata().is_ok() {
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
