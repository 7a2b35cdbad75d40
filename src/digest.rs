//! SHA-256 of what is written and read.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The digest of `bytes`, in hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The digest of the first `most` bytes of a file, in hexadecimal.
pub(crate) fn of_file(path: &Path, most: u64) -> io::Result<String> {
    let mut out = Digesting::to(io::sink());
    io::copy(&mut File::open(path)?.take(most), &mut out)?;
    Ok(out.finish().1)
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A writer that digests what it passes on.
pub(crate) struct Digesting<W> {
    to: W,
    hasher: Sha256,
}

impl<W: Write> Digesting<W> {
    pub fn to(to: W) -> Self {
        Self { to, hasher: Sha256::new() }
    }

    /// What it has written to, and the digest in hexadecimal.
    pub fn finish(self) -> (W, String) {
        (self.to, hexadecimal(self.hasher))
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_give_the_digest_of_the_standard() {
        // FIPS 180-2, B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        let mut out = Digesting::to(Vec::new());
        out.write_all(b"abc").unwrap();
        assert_eq!(out.finish(), (b"abc".to_vec(), abc.to_owned()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abcdef").unwrap();
        assert_eq!(of_file(file.path(), 3).unwrap(), abc);
    }
}
