//! The cache on disk: compiled kernels, and which of several kernels is the fastest.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A folder of files named after their key. If one cannot be read or written, that only costs time.
#[derive(Clone, Debug)]
pub struct KernelCache {
    /// `None` if nothing is cached.
    folder: Option<PathBuf>,
}

impl KernelCache {
    /// `reflux/kernels` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`.
    pub fn of_user() -> Self {
        Self { folder: dirs::cache_dir().map(|base| base.join("reflux/kernels")) }
    }

    /// A cache that stores nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    #[cfg(test)]
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The file for `key`, with this extension.
    pub fn path(&self, key: &str, extension: &str) -> Option<PathBuf> {
        let hash: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.as_ref().map(|folder| folder.join(format!("{hash}.{extension}")))
    }
}

/// Writes a file of the cache atomically.
pub fn keep(path: &Path, content: &[u8]) {
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&unfinished, content));
    let kept = written.and_then(|()| std::fs::rename(&unfinished, path));
    if let Err(error) = kept {
        let _ = std::fs::remove_file(&unfinished);
        tracing::debug!("the kernel cache cannot be written: {}: {error}", path.display());
    }
}
