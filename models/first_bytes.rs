//! Identification of unexpected files by their first bytes.
//!
//! Weights, configurations and tokenizers are downloaded, and what arrives is often something else: a pointer to a file, a page
//! that asks for a login, half a file. Naming it saves the user a search.

use reflux_ir::{Advice, words};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How many first bytes are enough to identify a file.
const HEAD: usize = 512;

/// The kind of a file, and what to do about it. Displays as what stands after “the file is”.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub what: String,
    /// What to give instead.
    pub instead: String,
    /// What to do with that.
    pub then: Vec<Advice>,
}

impl Foreign {
    pub(crate) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        // It may quote what a file says.
        Self { what: words::shortened(what.into()), instead: instead.into(), then: Vec::new() }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, Advice::after(&self.instead, ", and ", &self.then))
    }
}

/// The most bytes of configurations, indices and tokenizers; the largest known ones have 35 million.
const MOST_TEXT: u64 = 200_000_000;

/// The first bytes of a Git LFS pointer.
const LFS: &[u8] = b"version https://git-lfs";

const AGAIN: &str = "download the file again";

/// Formats with known first bytes: the bytes, the format, and what to do.
const MAGIC: &[(&[u8], &str, &str)] = &[
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", "convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy array", "convert it to safetensors"),
    (b"PK\x03\x04", "a zip archive", "unpack it, and give the weights inside"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and give the weights inside"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it, and give the weights inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and give the weights inside"),
    (b"Rar!", "a RAR archive", "unpack it, and give the weights inside"),
    (b"\x89PNG", "a picture (PNG)", "give a file of weights"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "give a file of weights"),
    (b"%PDF", "a PDF document", AGAIN),
];

/// The kind of a file with these first bytes, if it is a known one that is neither text nor weights.
pub(crate) fn recognise(head: &[u8]) -> Option<Foreign> {
    if head.starts_with(LFS) {
        return Some(lfs_pointer(head));
    }
    let text = head.trim_ascii_start();
    let is_markup =
        |start: &&str| text.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()));
    if ["<!doctype html", "<html", "<head", "<?xml", "<Error"].iter().any(is_markup) {
        let advice = "the server sent it instead of the file: download the file again, logged in if the model requires it";
        return Some(Foreign::new("a web page", advice));
    }
    let (_, what, advice) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic))?;
    Some(Foreign::new(*what, *advice))
}

/// A pointer names the size of the file: `size 23782506688`.
fn lfs_pointer(head: &[u8]) -> Foreign {
    let text = String::from_utf8_lossy(head);
    let size = text.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse::<u64>().ok());
    let size = size.map_or_else(String::new, |bytes| format!(" to a file of {bytes} bytes"));
    let advice =
        "the file itself was not downloaded: run `git lfs install` and `git lfs pull` in the model's folder";
    Foreign::new(format!("a Git LFS pointer{size}"), advice)
}

/// The first bytes of an open file; reads nothing else.
pub(crate) fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Opens a regular file. The error for a dangling link, as in a half-deleted cache, says so. Anything but a file is refused: a
/// pipe would block, and a device has no end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path).map_err(|error| explain(path, error))?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder, but must be a file"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is a device or a pipe, but must be a file"));
    }
    File::open(path)
}

/// The contents of a regular text file, which is refused if it is too large for one.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let bytes = file.metadata()?.len();
    // Those of the system, in /proc, say so and may have others wait for ever.
    if bytes == 0 {
        return Ok(Vec::new());
    }
    if bytes > MOST_TEXT {
        let (found, most) = (bytes / 1_000_000, MOST_TEXT / 1_000_000);
        let why = format!("it has {found} MB; a configuration or vocabulary may have at most {most} MB");
        return Err(io::Error::other(why));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MOST_TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `error`, or a better one if it is due to a dangling link.
fn explain(path: &Path, error: io::Error) -> io::Error {
    match std::fs::read_link(path) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => {
            let target = target.display();
            io::Error::new(
                error.kind(),
                format!("it is a link to {target}, which does not exist; download it again"),
            )
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(head: &[u8]) -> Option<String> {
        recognise(head).map(|foreign| foreign.what)
    }

    #[test]
    fn what_lies_in_a_files_place_is_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 246144152\n";
        assert_eq!(what(pointer).unwrap(), "a Git LFS pointer to a file of 246144152 bytes");
        assert_eq!(what(b"version https://git-lfs.github.com/spec/v1\n").unwrap(), "a Git LFS pointer");
        for page in [&b"<!DOCTYPE html><html>"[..], b"\n  <HTML>", b"<?xml version=\"1.0\"?><Error>"] {
            assert_eq!(what(page).unwrap(), "a web page");
        }
        assert_eq!(what(b"PK\x03\x04\0").unwrap(), "a zip archive");
    }

    #[test]
    fn what_a_file_says_is_not_quoted_without_end() {
        let foreign = Foreign::new(format!("one that says {}", "2,".repeat(3_000)), "give another");
        assert!(foreign.to_string().chars().count() < 1_000 && foreign.what.ends_with('…'));
    }

    #[test]
    fn text_and_headers_are_nothing_foreign() {
        for head in
            [&b""[..], b"{\"a\": 1}", b"\x40\0\0\0\0\0\0\0{\"a\":", b"#version: 0.2\na b", b"version 1"]
        {
            assert_eq!(what(head), None, "{head:?}");
        }
    }
}
