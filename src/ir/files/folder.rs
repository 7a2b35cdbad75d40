//! Folders that are complete or absent.

use super::{folder_of, leftovers, other, unfinished, without_its_name};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, TempDir};

/// A folder that is being filled, beside where it will be. It is gone, with all that is in it, when it is dropped or
/// [abandoned](super::abandon_unfinished) before it has [its name](Self::finish).
#[derive(Debug)]
pub struct NewFolder {
    /// The name that it will have.
    target: PathBuf,
    /// Where it is until then.
    path: PathBuf,
    /// Present until it takes its name.
    folder: Option<TempDir>,
    /// The folder itself, locked while it is unfinished.
    _held: Option<File>,
}

impl NewFolder {
    /// An empty one that will be called `path`.
    ///
    /// # Errors
    /// If there is something called so already, or no folder can be made there.
    pub fn at(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| other("it is no name for a new folder"))?;
        let parent = folder_of(path)?;
        let target = parent.join(name);
        refuse_existing(&target)?;
        leftovers::remove_in(&parent);
        let mut builder = Builder::new();
        builder.prefix(leftovers::prefix());
        // The umask decides what others may do with the folder, as for any other folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        // Held until the folder is registered, so that none is left behind.
        let mut unfinished = unfinished();
        let (folder, held) = loop {
            let folder = builder.tempdir_in(&parent).map_err(without_its_name)?;
            // Not every system opens folders; where they are not opened, none is removed either.
            match File::open(folder.path()) {
                Ok(held) if leftovers::hold(&held, folder.path()) => break (folder, Some(held)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => break (folder, None),
                _ => {}
            }
        };
        let path = folder.path().to_owned();
        unfinished.insert(path.clone());
        Ok(Self { target, path, folder: Some(folder), _held: held })
    }

    /// Where files for it go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it, called `relative`, with the folders in between.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be made.
    pub fn create(&self, relative: &Path) -> io::Result<File> {
        let inner: Vec<&Path> = relative.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
        for folder in inner.into_iter().rev() {
            // One by one, as `create_dir_all` would make this folder again after it was abandoned.
            match std::fs::create_dir(self.path.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        File::create_new(self.path.join(relative))
    }

    /// Gives it its name, once all of its files are on the disk.
    ///
    /// # Errors
    /// If something else has taken the name, or it cannot be renamed; then it is gone.
    pub fn finish(mut self) -> io::Result<()> {
        refuse_existing(&self.target)?;
        let mut unfinished = unfinished();
        std::fs::rename(&self.path, &self.target)?;
        unfinished.remove(&self.path);
        if let Some(folder) = self.folder.take() {
            // Nothing is called so any more.
            let _ = folder.keep();
        }
        drop(unfinished);
        // The new name is in the folder above, which keeps it through a loss of power only once it is written itself.
        self.target.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            let mut unfinished = unfinished();
            drop(folder);
            unfinished.remove(&self.path);
        }
    }
}

/// Removes a folder into which another thread may be writing: files that appear meanwhile would keep it.
pub(super) fn remove(path: &Path) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => return,
        }
    }
}

fn refuse_existing(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists already")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(root.path()).unwrap().count();
        let target = root.path().join("out");
        let folder = NewFolder::at(&target).unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        assert!(!target.exists());
        drop(folder);
        assert_eq!(count(), 0);
        let folder = NewFolder::at(&target).unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        folder.finish().unwrap();
        assert_eq!((count(), std::fs::read_to_string(target.join("a")).unwrap()), (1, "a".to_owned()));
        assert_eq!(NewFolder::at(&target).unwrap_err().to_string(), "it exists already");
    }

    #[test]
    fn an_abandoned_folder_is_not_made_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = NewFolder::at(&root.path().join("out")).unwrap();
        folder.create(Path::new("a/b/c")).unwrap();
        folder.create(Path::new("a/d")).unwrap();
        assert!(folder.path().join("a/b/c").exists());
        remove(folder.path());
        assert_eq!(folder.create(Path::new("a/b/c")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_takes_the_name_meanwhile_stays() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let folder = NewFolder::at(&target).unwrap();
        std::fs::create_dir(&target).unwrap();
        assert_eq!(folder.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_written_to_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("busy");
        std::fs::create_dir(&path).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || (0..).take_while(|index| std::fs::write(path.join(index.to_string()), "").is_ok()).count()
        });
        while std::fs::read_dir(&path).unwrap().count() < 10 {}
        remove(&path);
        assert!(writer.join().unwrap() >= 10);
        assert!(!path.exists());
    }
}
