//! Tensors whose numbers are in files beside the model, as those of more than 2 GB must be.

use crate::first_bytes;
use bytes::Bytes;
use memmap2::Mmap;
use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The bytes of the file at `path`, which are read when they are needed.
pub fn mapped(path: &Path) -> io::Result<Bytes> {
    let file = first_bytes::open(path)?;
    // SAFETY: the map is only ever read, as bytes, which have no invalid values. What Rust asks besides, that nobody writes to the
    // file meanwhile, no program can make sure of; as with files of weights it is up to the user.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}

/// The files beside a model, mapped when they are first read.
pub struct Beside {
    folder: PathBuf,
    files: HashMap<String, Bytes>,
}

impl Beside {
    /// Those of the model at `path`.
    pub fn new(path: &Path) -> Self {
        Self { folder: path.parent().unwrap_or(Path::new("")).to_owned(), files: HashMap::new() }
    }

    /// The files that have been read.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.files.keys().map(|location| self.folder.join(location)).collect();
        files.sort_unstable();
        files
    }

    /// The numbers of a tensor of `size` bytes that `entries` tell the place of.
    ///
    /// # Errors
    /// What is the matter with it, as the end of a sentence. A file outside of the model's folder is not read: a model from the
    /// internet could otherwise have any file looked at.
    pub fn bytes<'e>(
        &mut self,
        entries: impl Iterator<Item = (&'e str, &'e str)>,
        size: usize,
    ) -> Result<Bytes, String> {
        let entries: HashMap<_, _> = entries.collect();
        let number = |key: &str, default: usize| match entries.get(key) {
            Some(text) => text.parse().map_err(|_| format!("says `{text}` of its {key}, which is no number")),
            None => Ok(default),
        };
        let location = *entries.get("location").ok_or("does not say in which file it is")?;
        let (offset, length) = (number("offset", 0)?, number("length", size)?);
        let file = self.file(location)?;
        let end = offset.checked_add(length).filter(|&end| end <= file.len());
        let end = end.ok_or_else(|| {
            format!(
                "is said to be at {offset}, {length} bytes long, in {location}, which has {} bytes",
                file.len()
            )
        })?;
        Ok(file.slice(offset..end))
    }

    /// The file at `location`.
    fn file(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(file) = self.files.get(location) {
            return Ok(file.clone());
        }
        let is_inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(is_inside) {
            return Err(format!(
                "is said to be in {location}, outside of the model's folder; it is not read"
            ));
        }
        let path = self.folder.join(location);
        let unreadable = |error| format!("is in {}, which cannot be read: {error}", path.display());
        let file = mapped(&path).map_err(unreadable)?;
        self.files.insert(location.to_owned(), file.clone());
        Ok(file)
    }
}
