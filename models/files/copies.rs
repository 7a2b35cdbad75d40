//! The files of which a copy of a model consists.

use super::{CONFIG, MODEL_INDEX, ModelFiles, SCHEDULER_CONFIG};
use crate::defaults;
use crate::error::ModelError;
use crate::model_index::SCHEDULER;
use crate::net::Net;
use crate::weights::WeightsError;
use crate::weights::locate::locate;
use std::path::{Path, PathBuf};

/// A file of a model, and its place in the model's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    pub from: PathBuf,
    pub to: PathBuf,
}

impl ModelFiles {
    /// All files that this model in a folder is read from: configurations, tokenizers, and the weights of those networks for
    /// which `has_weights` holds, each where it lies in a folder that has them all.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn all_files(&self, has_weights: impl Fn(&Net) -> bool) -> Result<Vec<ModelFile>, ModelError> {
        let mut files = Vec::new();
        let mut add = |from: PathBuf, to: PathBuf| files.push(ModelFile { from, to });
        for file in
            [Path::new(MODEL_INDEX), Path::new(defaults::FILE), &Path::new(SCHEDULER).join(SCHEDULER_CONFIG)]
        {
            let from = self.folder.join(file);
            if from.symlink_metadata().is_ok() {
                add(from, file.to_owned());
            }
        }
        for name in self.family.tokenizers {
            let folder = self.folder.join(name);
            let failed = |error| ModelError::Read { path: folder.clone(), error };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.path().is_file() {
                    add(entry.path(), Path::new(name).join(entry.file_name()));
                }
            }
        }
        for net in self.family.nets {
            if let Some(config) = self.config_path(net) {
                add(config, Path::new(net.folder).join(CONFIG));
            }
            if has_weights(net) {
                for (from, name) in weight_files(&self.weights_path(net))? {
                    add(from, Path::new(net.folder).join(name));
                }
            }
        }
        files.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(files)
    }
}

/// The files of the weights at `path`, and how they are called in their folder.
fn weight_files(path: &Path) -> Result<Vec<(PathBuf, PathBuf)>, WeightsError> {
    let located = locate(path)?;
    let folder = located.folder().to_owned();
    let name = |file: PathBuf| {
        let name = file.strip_prefix(&folder).unwrap_or(&file).to_owned();
        (file, name)
    };
    Ok(located.into_files().into_iter().map(name).collect())
}
