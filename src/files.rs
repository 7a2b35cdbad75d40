//! Outputs of commands and the library: everything is written through an [`OutputFile`].

use crate::{Error, ImageFormat};
use reflux_ir::files;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// A destination for results, with the name that the user gave it.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    output: files::Destination,
}

impl OutputFile {
    /// What `path` names.
    ///
    /// # Errors
    /// [`Error::Write`] if nothing could be written there later.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let output =
            files::Destination::at(path).map_err(|error| Error::Write { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), output })
    }

    /// What an option of the command line names: `-` is standard output.
    ///
    /// # Errors
    /// [`Error::Write`] if nothing could be written there later.
    pub fn named(argument: &Path) -> Result<Self, Error> {
        if argument.as_os_str() == "-" {
            return Ok(Self { path: argument.to_owned(), output: files::Destination::stdout() });
        }
        Self::at(argument)
    }

    /// The same for binary output, which a terminal cannot show.
    ///
    /// # Errors
    /// [`Error::Write`] if nothing could be written there later, or if it is a terminal.
    pub fn binary(argument: &Path) -> Result<Self, Error> {
        let output = Self::named(argument)?;
        if output.is_stdout() && std::io::stdout().is_terminal() {
            let error = std::io::Error::other(
                "standard output is a terminal, but the output is binary; redirect it to a file or a pipe",
            );
            return Err(Error::Write { path: output.path, error });
        }
        Ok(output)
    }

    /// The name that the user gave.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.output.is_file()
    }

    /// Whether it is the standard output of this process.
    pub fn is_stdout(&self) -> bool {
        self.output.is_stdout()
    }

    /// Whether both are the same file or stream.
    pub fn is_same(&self, other: &Self) -> bool {
        self.output.is_same(&other.output)
    }

    /// Writes by `write`; a file is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Error> {
        self.output.write(write).map_err(|error| Error::Write { path: self.path.clone(), error })
    }

    /// Writes `text`. It is not an error if the reader closes a stream early.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_text(&mut self, text: &str) -> Result<(), Error> {
        match self.write(|out| out.write_all(text.as_bytes())) {
            Err(Error::Write { error, .. }) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }

    /// Refuses to overwrite one of `inputs`: files, and folders of models, in which only pictures may be replaced.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn refuse_inputs<'p>(&self, inputs: impl IntoIterator<Item = &'p Path>) -> Result<(), Error> {
        if !self.is_file() || !self.path.exists() {
            return Ok(());
        }
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let [own, folder] =
            [&self.path, parent.unwrap_or(Path::new("."))].map(|path| path.canonicalize().ok());
        let is_read = |input: &&Path| {
            let input = input.canonicalize().ok();
            match &input {
                Some(model) if model.is_dir() => {
                    ImageFormat::of(&self.path).is_none()
                        && folder.as_ref().is_some_and(|folder| folder.starts_with(model))
                }
                _ => input.is_some() && input == own,
            }
        };
        let Some(input) = inputs.into_iter().find(is_read) else { return Ok(()) };
        let part =
            if self.path == input { String::new() } else { format!(" as part of {}", input.display()) };
        let path = self.path.display();
        Err(Error::Usage(format!("{path} is an input{part} and would be overwritten; name another file")))
    }
}
