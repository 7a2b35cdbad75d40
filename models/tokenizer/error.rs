//! Errors of tokenizers.

use reflux_ir::words;
use std::path::{Path, PathBuf};

/// A tokenizer that cannot be opened, or a prompt that it cannot encode.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file could not be read.
    #[error("cannot read {}: {source}; a tokenizer's folder must contain it", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    /// A file has the wrong content; why, and what to do.
    #[error("{} is not a tokenizer file: {why}", path.display())]
    Malformed { path: PathBuf, why: String },

    /// A special token is not named, or not in the vocabulary.
    #[error(
        "{}: {}; add it to tokenizer_config.json, or download the folder again",
        folder.display(),
        match token {
            Some(token) => format!("the `{role}` {token:?} is not in the vocabulary"),
            None => format!("no file names the `{role}`"),
        }
    )]
    SpecialToken { folder: PathBuf, role: &'static str, token: Option<String> },

    /// Tokens that a text encoder has no embedding for.
    #[error(
        "{}: the largest token is {largest}, but the text encoder only has {rows} embeddings, counted from 0; tokenizer and text \
         encoder belong to different models, download both again",
        folder.display()
    )]
    Vocabulary { folder: PathBuf, largest: u32, rows: usize },

    /// The special tokens alone are more than the length that was asked for.
    #[error("{max_length} tokens cannot hold a prompt: the tokenizer itself adds {special}; ask for more")]
    TooShort { max_length: usize, special: usize },

    /// More text than any text encoder reads.
    #[error(
        "the prompt has {bytes} bytes; at most {most} are read, and text encoders see less than a tenth of that: shorten it"
    )]
    TooLong { bytes: usize, most: usize },

    /// The `tokenizers` crate gave up.
    #[error("the tokenizer in {} cannot read the prompt: {why}; download the folder again", folder.display())]
    Failed { folder: PathBuf, why: String },
}

impl TokenizerError {
    pub(super) fn failed(folder: &Path, error: tokenizers::Error) -> Self {
        Self::Failed { folder: folder.to_owned(), why: words::of_serde(&error.to_string()) }
    }
}
