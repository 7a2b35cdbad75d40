//! The cache on disk: compiled kernels, and which of several alternatives is the fastest.

use reflux_ir::files::Destination;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A folder of files named by what they follow from. One that cannot be read or written only costs time.
#[derive(Clone, Debug)]
pub struct KernelCache {
    /// `None` keeps nothing.
    folder: Option<PathBuf>,
}

impl KernelCache {
    /// `reflux/kernels` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`.
    pub fn of_user() -> Self {
        Self { folder: dirs::cache_dir().map(|base| base.join("reflux/kernels")) }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None }
    }

    #[cfg(test)]
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The file of the kind `extension` for what follows from `key`.
    pub fn path(&self, key: &str, extension: &str) -> Option<PathBuf> {
        let hash: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.as_ref().map(|folder| folder.join(format!("{hash}.{extension}")))
    }
}

/// Bytes of the digest that a file begins with.
const DIGEST: usize = 32;

/// What [`keep`] has written to `path`, if it is there and as it was: a damaged kernel could compute anything.
pub fn kept(path: &Path) -> Option<Vec<u8>> {
    let mut content = std::fs::read(path).ok()?;
    let rest = content.split_off(DIGEST.min(content.len()));
    (Sha256::digest(&rest)[..] == content[..]).then_some(rest)
}

/// Writes a file of the cache, all of it or none.
pub fn keep(path: &Path, content: &[u8]) {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        Destination::at(path)?.write(|out| {
            out.write_all(&Sha256::digest(content))?;
            out.write_all(content)
        })
    });
    if let Err(error) = written {
        tracing::debug!("the kernel cache cannot be written: {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = KernelCache::at(&folder.path().join("new")).path("key", "cubin").unwrap();
        assert_eq!(kept(&path), None);
        keep(&path, b"kernel");
        assert_eq!(kept(&path).unwrap(), b"kernel");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(kept(&path), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(kept(&path), None, "the first {at} bytes");
        }
        keep(&path, b"");
        assert_eq!(kept(&path).unwrap(), b"");
    }
}
