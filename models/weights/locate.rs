//! Which files a path to weights stands for.

use super::WeightsError;
use super::folder::{self, Choice};
use super::index::Index;
use std::path::{Path, PathBuf};

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
    let file = match path.is_dir().then(|| folder::choose(path)).transpose()? {
        None => path.to_owned(),
        Some(Choice::File(file)) => file,
        Some(Choice::Shards(files)) => return Ok(Found { files, index: None }),
    };
    if is_pickle(&file) {
        return Err(WeightsError::Pickle { path: file });
    }
    if !folder::is_index(file_name(&file)) {
        return Ok(Found { files: vec![file], index: None });
    }
    let index = Index::read(file)?;
    Ok(Found { files: index.shards()?, index: Some(index) })
}

/// Whether a file's name is that of a pickle.
pub(super) fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    PICKLES.iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
}

/// The file name; that of a file whose name is no UTF-8 is of no interest here.
pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
