//! Differences between weights and a configuration.

use std::fmt;
use std::path::PathBuf;

/// At most this many tensors of a kind are listed in a message.
const LISTED: usize = 8;

/// Everything that tells weights from those of the model they were opened for, in the names of their files.
#[derive(Debug)]
pub struct WeightsMismatch {
    pub(super) path: PathBuf,
    /// In what the file's network as a whole is another one.
    pub(super) differences: Vec<String>,
    pub(super) missing: Vec<String>,
    pub(super) misshaped: Vec<String>,
    pub(super) unsupported: Vec<String>,
    pub(super) unexpected: Vec<String>,
}

impl WeightsMismatch {
    pub(super) fn kinds(&self) -> [(&'static str, &[String]); 4] {
        [
            ("missing", &self.missing),
            ("with another shape", &self.misshaped),
            ("with an unsupported type (bf16, f16, f32 and fp8 are supported)", &self.unsupported),
            ("unexpected", &self.unexpected),
        ]
    }
}

impl fmt::Display for WeightsMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the weights {} do not match the model's configuration; give the weights that belong to it",
            self.path.display()
        )?;
        if !self.differences.is_empty() {
            write!(f, "\n  they belong to a transformer with {}", self.differences.join("; "))?;
        }
        for (what, tensors) in self.kinds() {
            let Some(more) = tensors.len().checked_sub(1) else { continue };
            let listed = &tensors[..=more.min(LISTED - 1)];
            write!(f, "\n  {} {what}: {}", tensors.len(), listed.join(", "))?;
            if tensors.len() > LISTED {
                write!(f, ", … and {} more", tensors.len() - LISTED)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for WeightsMismatch {}
