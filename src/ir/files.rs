//! Outputs: files and folders that are complete or absent, and devices, pipes and descriptors.
//!
//! An [`Destination`] may be a file to make or replace, a link to one, a device, a pipe, or a descriptor such as `/dev/stdout`. Only
//! regular files are replaced, through a temporary file beside them that takes their name once it is complete; everything else
//! is opened and written to.

mod folder;
mod leftovers;

pub use folder::NewFolder;

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::{Builder, NamedTempFile};

/// The longest chain of links that is followed.
const MOST_LINKS: usize = 40;

/// The prefix of names of temporary files.
const UNFINISHED_PREFIX: &str = ".reflux-";

/// A destination for results.
#[derive(Debug)]
pub struct Destination {
    place: DestinationKind,
}

#[derive(Debug)]
enum DestinationKind {
    Stdout,
    Stderr,
    /// A device, a pipe, or an inherited descriptor; open once it has been written to.
    Stream {
        path: PathBuf,
        append: bool,
        opened: Option<File>,
    },
    /// A regular file that exists or will; not a link.
    Replaced(PathBuf),
    /// A regular file in a folder where no other file can be made.
    Overwritten(PathBuf),
}

impl Destination {
    /// Standard output.
    pub fn stdout() -> Self {
        Self { place: DestinationKind::Stdout }
    }

    /// The destination that `path` names. Changes nothing and opens no pipe.
    ///
    /// # Errors
    /// If it could not be written later: it is a folder, its folder does not exist, or it is protected.
    pub fn at(path: &Path) -> io::Result<Self> {
        let place = match followed(path)? {
            DestinationKind::Replaced(path) => {
                let old = existing(&path)?;
                match Unfinished::beside(&path) {
                    Ok(_) => DestinationKind::Replaced(path),
                    Err(error) if old.is_some() && is_refusal(&error) => DestinationKind::Overwritten(path),
                    Err(error) => return Err(error),
                }
            }
            place => place,
        };
        Ok(Self { place })
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.place, DestinationKind::Replaced(_) | DestinationKind::Overwritten(_))
    }

    /// Whether it is the standard output of this process.
    pub fn is_stdout(&self) -> bool {
        matches!(self.place, DestinationKind::Stdout)
    }

    /// Whether both are the same file or stream.
    pub fn is_same(&self, other: &Self) -> bool {
        self.place.path() == other.place.path()
    }

    /// Writes by `write`. A regular file is replaced completely or not at all, and keeps its permissions.
    ///
    /// # Errors
    /// If it cannot be written, or if `write` fails.
    pub fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        match &mut self.place {
            DestinationKind::Stdout => stream(io::stdout().lock(), write),
            DestinationKind::Stderr => stream(io::stderr().lock(), write),
            DestinationKind::Stream { path, append, opened } => {
                let file = match opened {
                    Some(file) => file,
                    None => opened.insert(OpenOptions::new().write(true).append(*append).open(path)?),
                };
                stream(file, write)
            }
            DestinationKind::Replaced(path) => replace(path, write),
            DestinationKind::Overwritten(path) => overwrite(path, write),
        }
    }
}

impl DestinationKind {
    /// The identity of the place, the same for all of its names.
    fn path(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("/dev/stdout"),
            Self::Stderr => Path::new("/dev/stderr"),
            Self::Stream { path, .. } | Self::Replaced(path) | Self::Overwritten(path) => path,
        }
    }
}

/// Writes the file `name` in `folder` completely or not at all. The user did not choose this name, so anything there that is
/// not a regular file is neither followed nor replaced.
///
/// # Errors
/// If it cannot be written, with the path.
pub fn write_in_folder(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = folder.join(name);
    let written = match path.symlink_metadata() {
        Ok(there) if !there.is_file() => Err(other("it exists and is not a regular file")),
        _ => replace(&path, |out| out.write_all(text.as_bytes())),
    };
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Writes a new temporary file with an unpredictable name that only its owner can read.
///
/// # Errors
/// If it cannot be written.
pub fn write_new(prefix: &str, suffix: &str, text: &str) -> io::Result<PathBuf> {
    let mut builder = Builder::new();
    builder.prefix(prefix).suffix(suffix);
    let mut file = Unfinished::make(&builder, &std::env::temp_dir())?;
    file.write_all(text.as_bytes())?;
    file.keep()
}

/// Removes all temporary files and folders and prevents new ones, before the process ends.
pub fn abandon_unfinished() {
    let mut unfinished = unfinished();
    for path in std::mem::take(&mut *unfinished) {
        match path.is_dir() {
            true => folder::remove(&path),
            // An error here can no longer be reported.
            false => drop(std::fs::remove_file(path)),
        }
    }
    std::mem::forget(unfinished);
}

/// The target of `path`.
fn followed(path: &Path) -> io::Result<DestinationKind> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let is_folder_name = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let Some(name) = path.file_name().filter(|_| !is_folder_name) else {
            return Err(other(if path.is_dir() { "it is a folder" } else { "there is no such folder" }));
        };
        let folder = folder_of(&path)?;
        let resolved = folder.join(name);
        let kind = match resolved.symlink_metadata() {
            Ok(there) => there.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(DestinationKind::Replaced(resolved));
            }
            Err(error) => return Err(error),
        };
        if let Some(place) = descriptor(&folder, &resolved) {
            return Ok(place);
        } else if kind.is_symlink() {
            path = folder.join(std::fs::read_link(&resolved)?);
        } else if kind.is_dir() {
            return Err(other("it is a folder"));
        } else if kind.is_file() {
            return Ok(DestinationKind::Replaced(resolved));
        } else {
            return Ok(DestinationKind::Stream { path: resolved, append: false, opened: None });
        }
    }
    Err(other("it is a link in a cycle or in a too long chain of links"))
}

/// An open file of a process, as listed by Linux in `/proc`. Following its link as a path would write elsewhere than its owner
/// does, or replace the file that it is redirected to.
fn descriptor(folder: &Path, path: &Path) -> Option<DestinationKind> {
    let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
    if !folder.starts_with("/proc") || !folder.ends_with("fd") {
        return None;
    }
    let is_own = Path::new("/proc/self/fd").canonicalize().is_ok_and(|own| own == folder);
    Some(match number {
        1 if is_own => DestinationKind::Stdout,
        2 if is_own => DestinationKind::Stderr,
        _ => DestinationKind::Stream { path: path.to_owned(), append: true, opened: None },
    })
}

/// The folder that `path` lies in, without links.
fn folder_of(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new(".")).canonicalize();
    match folder {
        Ok(folder) if folder.is_dir() => Ok(folder),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(error),
        _ => Err(other("there is no such folder")),
    }
}

/// The regular file at `path`, if there is one. Opening it checks that it is not protected, which replacing it would ignore.
fn existing(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            Ok(Some((file, metadata)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a folder does not let a file be made in it, or one of its files be replaced.
fn is_refusal(error: &io::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

fn stream(out: impl Write, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    write(&mut out).and_then(|()| out.flush())
}

/// Replaces or creates the regular file `path`.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let old = existing(path)?;
    let mut file = Unfinished::beside(path)?;
    {
        let mut out = BufWriter::new(&mut file);
        write(&mut out).and_then(|()| out.flush())?;
    }
    if let Some((_, metadata)) = &old {
        file.take_after(metadata)?;
    }
    file.as_file().sync_all()?;
    match (file.rename(path), old) {
        // A file that is itself a mount point, as in containers, can be written but not replaced.
        (Err((error, mut whole)), Some((mut old, _))) if is_refusal(&error) => {
            old.set_len(0)?;
            io::copy(&mut whole.reopen()?, &mut old).map(drop)
        }
        (outcome, _) => outcome.map_err(|(error, _)| error),
    }
}

/// Overwrites the content of the regular file `path`, once the new content is complete.
fn overwrite(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut content = Vec::new();
    write(&mut content)?;
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(&content)?;
    file.sync_all()
}

/// The error of creating a temporary file, without its name, which means nothing to a user.
fn without_its_name(error: io::Error) -> io::Error {
    let source = error.get_ref().and_then(|named| named.source()).and_then(|source| source.downcast_ref());
    let number = source.and_then(io::Error::raw_os_error);
    number.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn other(why: &str) -> io::Error {
    io::Error::other(why)
}

/// The existing temporary files and folders.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file, gone when it is dropped or [abandoned](abandon_unfinished).
struct Unfinished {
    path: PathBuf,
    /// Present until it takes its final name.
    file: Option<NamedTempFile>,
}

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(leftovers::prefix());
        // The umask decides what others may do with the file, as for any other file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let folder = folder_of(path)?;
        leftovers::remove_in(&folder);
        Self::make(&builder, &folder)
    }

    fn make(builder: &Builder, folder: &Path) -> io::Result<Self> {
        // Held until the file is registered, so that none is left behind.
        let mut unfinished = unfinished();
        let file = loop {
            let file = builder.tempfile_in(folder).map_err(without_its_name)?;
            if leftovers::hold(file.as_file(), file.path()) {
                break file;
            }
        };
        let path = file.path().to_owned();
        unfinished.insert(path.clone());
        Ok(Self { path, file: Some(file) })
    }

    fn as_file(&self) -> &File {
        self.file.as_ref().expect("it is unfinished").as_file()
    }

    fn reopen(&mut self) -> io::Result<File> {
        self.file.as_ref().expect("it is unfinished").reopen()
    }

    /// Gives it the permissions of the file that it is to replace, and its owner where that is allowed.
    fn take_after(&self, old: &Metadata) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            let own = self.as_file().metadata()?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                // Only root may do this; for others, replacing another user's file makes it their own.
                let _ = fchown(self.as_file(), Some(old.uid()), Some(old.gid()));
            }
        }
        self.as_file().set_permissions(old.permissions())
    }

    /// Renames it to `path`, which is replaced.
    fn rename(mut self, path: &Path) -> Result<(), (io::Error, Self)> {
        let file = self.file.take().expect("it is unfinished");
        let mut unfinished = unfinished();
        match file.persist(path) {
            Ok(_) => {
                unfinished.remove(&self.path);
                Ok(())
            }
            Err(error) => {
                drop(unfinished);
                self.file = Some(error.file);
                Err((error.error, self))
            }
        }
    }

    /// Keeps it under its current name.
    fn keep(mut self) -> io::Result<PathBuf> {
        let file = self.file.take().expect("it is unfinished");
        let mut unfinished = unfinished();
        unfinished.remove(&self.path);
        file.keep().map(|(_, path)| path).map_err(|error| error.error)
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.as_file().flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut unfinished = unfinished();
            drop(file);
            unfinished.remove(&self.path);
        }
    }
}
