//! Reading and writing of text files.

use super::console::print;
use crate::Error;
use crate::files::OutputFile;
use std::io::Read;
use std::path::Path;

/// Where `--out FILE` says that a text goes: nowhere in particular is standard output.
///
/// # Errors
/// [`Error::Write`] if nothing could be written there later.
pub fn text_output(argument: Option<&Path>) -> Result<OutputFile, Error> {
    OutputFile::named(argument.unwrap_or(Path::new("-")))
}

/// Writes a result to where [`text_output`] says.
pub fn write_result(output: &mut OutputFile, text: &str) -> Result<(), Error> {
    if output.is_stdout() { print(text) } else { output.write_text(text) }
}

/// No text that is meant is as long.
const LONGEST_TEXT: u64 = 1 << 28;

/// The text of a file.
///
/// # Errors
/// [`Error::Read`] if it cannot be read, is not text, or is longer than any plausible file.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    // A device such as /dev/zero never ends.
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text))
        .and_then(|length| {
            let is_whole = (length as u64) < LONGEST_TEXT;
            let why = "it is longer than 256 MiB, the limit for programs and configurations";
            if is_whole { Ok(text) } else { Err(std::io::Error::other(why)) }
        });
    read.map_err(|error| Error::Read { path: path.to_owned(), error })
}
