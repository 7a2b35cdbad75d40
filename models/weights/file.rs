//! One mapped file of weights.

use super::error::WeightsError;
use super::header::FileHeader;
use super::{gguf, safetensors_file};
use crate::first_bytes;
use memmap2::Mmap;
use std::path::{Path, PathBuf};

/// A mapped file whose header has been found consistent with its size.
#[derive(Debug)]
pub(crate) struct MappedFile {
    pub(crate) path: PathBuf,
    map: Mmap,
}

/// A mapped file and what its header says.
pub(crate) struct Opened {
    pub(crate) file: MappedFile,
    pub(crate) header: FileHeader,
}

/// Whether the file at `path` begins as files of weights do: safetensors or GGUF.
pub fn is_weights(path: &Path) -> bool {
    let head = first_bytes::open(path).and_then(|mut file| first_bytes::head(&mut file));
    head.is_ok_and(|head| head.starts_with(gguf::MAGIC) || safetensors_file::begins(&head))
}

impl MappedFile {
    /// Maps the file at `path` and reads its header. Which container it is, is told by its first bytes.
    pub(crate) fn open(path: &Path) -> Result<Opened, WeightsError> {
        let unreadable = |source| WeightsError::Unreadable { path: path.to_owned(), source };
        let mut file = first_bytes::open(path).map_err(unreadable)?;
        let head = first_bytes::head(&mut file).map_err(unreadable)?;
        let is_gguf = head.starts_with(gguf::MAGIC);
        if !is_gguf {
            safetensors_file::refuse_others(path, &head)?;
        }
        // SAFETY: the map is only ever read, as bytes, which have no invalid values. What Rust asks
        // besides, that nobody writes to the file meanwhile, no program can make sure of; as in every
        // loader that maps weights it is up to the user not to change files that are in use.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let header = if is_gguf { gguf::header(path, &map)? } else { safetensors_file::header(path, &map)? };
        Ok(Opened { file: Self { path: path.to_owned(), map }, header })
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}
