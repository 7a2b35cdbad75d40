//! The files that a path to weights refers to.

use super::error::WeightsError;
use super::folder::{self, Choice};
use super::index::Index;
use super::names::{file_name, is_pickle};
use std::path::{Path, PathBuf};

/// The safetensors files to open.
pub(crate) struct Located {
    pub(crate) files: Vec<PathBuf>,
    /// The index that named them, if they are shards.
    pub(super) index: Option<Index>,
}

impl Located {
    /// The folder that they are in.
    pub(crate) fn folder(&self) -> &Path {
        let file = self.index.as_ref().map(Index::path).or(self.files.first().map(PathBuf::as_path));
        file.and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// All of them, with the index.
    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        let index = self.index.map(|index| index.path().to_owned());
        self.files.into_iter().chain(index).collect()
    }
}

/// The files that `path`, a file, an index or a folder, refers to.
pub(crate) fn locate(path: &Path) -> Result<Located, WeightsError> {
    let file = match path.is_dir().then(|| folder::choose(path)).transpose()? {
        None => path.to_owned(),
        Some(Choice::File(file)) => file,
        Some(Choice::Shards(files)) => return Ok(Located { files, index: None }),
    };
    if is_pickle(&file) {
        return Err(WeightsError::Pickle { path: file });
    }
    if !folder::is_index(file_name(&file)) {
        return Ok(Located { files: vec![file], index: None });
    }
    let index = Index::read(file)?;
    Ok(Located { files: index.shards()?, index: Some(index) })
}
