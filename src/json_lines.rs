//! Files of JSON, one value a line, which are written line by line: a run that ends early leaves all but its last line whole.

use crate::Error;
use crate::files::OutputFile;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file to which lines are added.
pub(crate) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// The file at `path`, of which `known` is all that counts: a last line that was cut off goes, since the next one would be added
    /// to it.
    ///
    /// # Errors
    /// [`Error::Write`].
    /// [`Error::Usage`] if another process adds lines to it.
    pub fn after<T: Serialize>(path: &Path, known: &[T]) -> Result<Self, Error> {
        if let Ok(earlier) = File::open(path)
            && let Err(TryLockError::WouldBlock) = earlier.try_lock()
        {
            let message =
                format!("{}: another run is writing to it; wait for its end, or end it", path.display());
            return Err(Error::Usage(message));
        }
        OutputFile::at(path)?.write_text(&known.iter().map(line).collect::<String>())?;
        let opened = OpenOptions::new().append(true).open(path);
        let file = opened.map_err(|error| Error::Write { path: path.to_owned(), error })?;
        // Where there are no locks, nothing tells of two runs.
        let _ = file.try_lock();
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `value`, which is on the disk afterwards.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn add<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let written = self.file.write_all(line(value).as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::Write { path: self.path.clone(), error })
    }
}

/// A value as a line.
pub(crate) fn line<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("what is written is plain data");
    format!("{json}\n")
}

/// The values of a file. What is behind the last line break was cut off; empty lines at the end, as editors leave them, are none.
///
/// # Errors
/// Says which line is none, and why.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let whole = text.rfind('\n').map_or("", |end| text[..end].trim_end());
    let value = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {} cannot be read ({error})", index + 1))
    };
    whole.lines().enumerate().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that goes on must find the numbers of the run before. Without serde_json's `float_roundtrip` a few of these differ in the
    /// last place.
    #[test]
    fn numbers_come_back_as_they_were() {
        let mut random = fastrand::Rng::with_seed(3);
        let narrow: Vec<f64> = (0..2000).map(|_| f64::from(random.f32() * 1000.0)).collect();
        let wide: Vec<f64> = (0..2000).map(|_| random.f64()).collect();
        let all = [narrow, wide];
        let text: String = all.iter().map(line).collect();
        assert_eq!(parse::<Vec<f64>>(&text).unwrap(), all);
        // What is behind the last line break was cut off; a line before it that is none is an error.
        assert_eq!(parse::<u8>("1\n2\n3").unwrap(), [1, 2]);
        assert_eq!(parse::<u8>("1\n2\n\n \n\n").unwrap(), [1, 2]);
        assert!(parse::<u8>("1\n\n2\n").unwrap_err().starts_with("line 2 cannot be read"));
        assert!(parse::<u8>("1\nx\n3\n").unwrap_err().starts_with("line 2 cannot be read"));
    }
}
