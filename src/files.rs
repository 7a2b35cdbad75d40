//! Files that are whole or not there.

use crate::Error;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Writes `path` by way of a temporary file beside it, which takes its name only once it is complete.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |error| Error::Write { path: path.to_owned(), error };
    let mut file = temporary(path).map_err(failed)?;
    {
        let mut out = BufWriter::new(file.as_file_mut());
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// Finds out now, before any work, whether `path` could be written later.
pub(crate) fn check_writable(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::Write { path: path.to_owned(), error };
    if path.is_dir() {
        return Err(failed(std::io::Error::other("it is a folder")));
    }
    temporary(path).map(drop).map_err(failed)
}

fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(std::io::Error::other("there is no such folder"));
    }
    // What others may do with a file made here is the umask's to say, as for any other file.
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut builder = Builder::new();
    builder.prefix(".reflux-");
    #[cfg(unix)]
    builder.permissions(permissions);
    // tempfile's own error names the temporary file, which means nothing to whom it is shown.
    builder.tempfile_in(folder).map_err(|error| std::io::Error::from(error.kind()))
}
