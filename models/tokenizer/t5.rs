//! T5's tokenizer: SentencePiece unigrams.

use super::{Backend, Encoding, TokenizerError, file};
use std::path::Path;

/// The tokenizer of FLUX.1's second text encoder, T5.
#[derive(Debug)]
pub struct T5Tokenizer(Backend);

impl T5Tokenizer {
    /// Reads `tokenizer.json` and, for the padding, `tokenizer_config.json` in `folder`.
    ///
    /// # Errors
    /// If a file is missing or malformed, or no padding token is named.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let backend = Backend::from_json(folder.as_ref())?;
        if backend.special() == 0 {
            let why = "it has no `post_processor` that ends a prompt with an end token, as T5's has";
            return Err(file::malformed(&folder.as_ref().join("tokenizer.json"), why));
        }
        Ok(Self(backend))
    }

    /// The ids of `prompt`, an end token even if it is cut, and padding up to `max_length`.
    ///
    /// # Errors
    /// If `max_length` is 0.
    pub fn encode(&self, prompt: &str, max_length: usize) -> Result<Encoding, TokenizerError> {
        self.0.encode(prompt, max_length)
    }

    /// Checks that a text encoder of `rows` embeddings has one for every token.
    ///
    /// # Errors
    /// [`TokenizerError::Vocabulary`], which names `folder`.
    pub fn check_vocabulary(&self, folder: &Path, rows: usize) -> Result<(), TokenizerError> {
        self.0.check_vocabulary(folder, rows)
    }

    /// The length that the folder's files recommend, if any.
    pub fn model_max_length(&self) -> Option<usize> {
        self.0.model_max_length
    }
}
