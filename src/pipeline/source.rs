//! Pictures that are drawn from, as metadata names them.

use std::fmt;

/// The keys of pictures that are drawn from, which are named like the options.
pub(super) const SOURCES: [&str; 4] = ["init_image", "mask_image", "control_image", "reference_image"];

/// A picture that was drawn from, as the metadata names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name of its file, without folders.
    pub name: String,
    /// Of the file's bytes: FNV-1a.
    pub digest: u64,
}

/// FNV-1a, to tell whether a file has changed.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Source {
    /// What [`Display`](fmt::Display) wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, digest) = text.rsplit_once(" fnv1a:")?;
        Some(Self { name: name.to_owned(), digest: u64::from_str_radix(digest, 16).ok()? })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fnv1a:{:016x}", self.name, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_with_its_digest() {
        let source = Source { name: "a fnv1a:b.png".into(), digest: digest(b"abc") };
        assert_eq!(source.digest, 0xe71f_a219_0541_574b);
        assert_eq!(Source::parse(&source.to_string()), Some(source));
        assert_eq!(Source::parse("a.png"), None);
    }
}
