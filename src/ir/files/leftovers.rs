//! Temporary files and folders of processes that were killed, which could not remove them themselves: the next run that writes into
//! the same folder does.
//!
//! Whether a process still needs one, a lock says (`flock`) that it holds on it from the beginning to the end. The system lets go of
//! the lock when the process dies, however it does, and a number of a process, which the next process may have, is not needed. Where
//! there are no such locks, nothing is removed. Some file systems that machines share have locks that the other machines do not see,
//! so the name has the machine's name, and only its own are removed.

use super::UNFINISHED_PREFIX;
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// How many random letters and digits are behind the prefix: as many as `tempfile` makes unless told otherwise.
const RANDOM: usize = 6;

/// The prefix of names of temporary files that this machine makes.
pub(super) fn prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| match machine() {
        Some(machine) => format!("{UNFINISHED_PREFIX}{machine}-"),
        None => UNFINISHED_PREFIX.to_owned(),
    })
}

/// This machine's name, where that can be told.
fn machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let is_plain = |c: &char| c.is_ascii_alphanumeric();
    Some(name.chars().filter(is_plain).take(64).collect()).filter(|name: &String| !name.is_empty())
}

/// Locks what was just made at `path`, so that no other process takes it for a leftover. False if one did before it was locked: it is
/// gone, and another has to be made.
pub(super) fn hold(file: &File, path: &Path) -> bool {
    // Where there are no locks, nobody removes anything.
    let is_gone = || path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    cfg!(not(unix)) || file.lock().is_err() || !is_gone()
}

/// Removes from `folder`, to which this process writes for the first time, what dead processes have left there. Nothing depends on
/// that, so what cannot be removed stays.
pub(super) fn remove_in(folder: &Path) {
    static SEEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let is_first = SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
    if is_first && cfg!(unix) && machine().is_some() {
        remove_from(folder);
    }
}

fn remove_from(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary) {
            // Whatever is in the way, it is somebody's who has a right to it.
            let _ = remove_dead(&entry.path());
        }
    }
}

/// Whether this machine makes such names, and nobody else is likely to.
fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(prefix());
    random.is_some_and(|random| random.len() == RANDOM && random.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Removes what is at `path`, unless a process holds it. A link is not followed, and stays.
fn remove_dead(path: &Path) -> io::Result<()> {
    let there = path.symlink_metadata()?;
    if !there.is_file() && !there.is_dir() {
        return Ok(());
    }
    let file = File::open(path)?;
    // Who made it holds it until it has its name or is gone. That may have happened before it was locked here, and something else
    // have taken its place.
    if file.try_lock().is_err() || !is_at(&file, path) {
        return Ok(());
    }
    match there.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

/// Whether `file` is what is at `path`, and not what a link there leads to.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(there)) => identity(&open) == identity(&there),
        _ => false,
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn left(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_holds_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |random: &str| folder.path().join(format!("{}{random}", prefix()));
        std::fs::write(path("DeadF1"), "half").unwrap();
        std::fs::create_dir_all(path("DeadD1").join("inner")).unwrap();
        std::fs::write(path("DeadD1").join("inner/file"), "half").unwrap();
        // Of living processes.
        let file = File::create_new(path("LiveF1")).unwrap();
        std::fs::create_dir(path("LiveD1")).unwrap();
        let held = [file, File::open(path("LiveD1")).unwrap()];
        for (held, name) in held.iter().zip(["LiveF1", "LiveD1"]) {
            assert!(hold(held, &path(name)));
        }
        remove_from(folder.path());
        let names = ["LiveD1", "LiveF1"].map(|random| format!("{}{random}", prefix()));
        assert_eq!(left(folder.path()), names);
        drop(held);
        remove_from(folder.path());
        assert_eq!(left(folder.path()), [""; 0]);
    }

    #[test]
    fn what_others_have_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("file"), "whole").unwrap();
        let links = [("LinkD1", other.path().to_owned()), ("LinkF1", other.path().join("file"))];
        for (random, target) in links {
            std::os::unix::fs::symlink(target, folder.path().join(format!("{}{random}", prefix()))).unwrap();
        }
        for name in [".reflux-notes", ".reflux-othermachine1-aBcDeF", "aBcDeF", ".reflux-aBcDe"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join(format!("{}longer1", prefix())), "").unwrap();
        let before = left(folder.path());
        remove_from(folder.path());
        assert_eq!(left(folder.path()), before);
        assert_eq!(std::fs::read_to_string(other.path().join("file")).unwrap(), "whole");
    }

    /// Between making a file and locking it, another process may have taken it for a leftover.
    #[test]
    fn what_is_gone_before_it_is_held_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create_new(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!hold(&file, &path));
    }
}
