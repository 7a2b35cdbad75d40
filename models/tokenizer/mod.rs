//! Tokenizers: prompts to the token ids of transformers' tokenizers.

pub mod built_in;
mod clip;
mod error;
mod file;
mod limits;
mod special;
mod t5;

pub use clip::open as clip;
pub use error::TokenizerError;
pub use t5::open as t5;

use reflux_ir::words;
use special::SpecialTokens;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tokenizers::{PostProcessor, TruncationDirection};

/// Opens the tokenizer in a folder.
pub type OpenTokenizer = fn(&Path) -> Result<Tokenizer, TokenizerError>;

/// A tokenized prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, padded to the requested length.
    pub ids: Vec<i32>,
    /// How many of them are the prompt's, special tokens included; the others are padding.
    pub tokens: usize,
    /// The end of the prompt that did not fit, as it was written.
    pub cut: Option<String>,
}

/// A tokenizer of the `tokenizers` crate and what transformers adds to it.
#[derive(Debug)]
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// Where it was read from.
    folder: PathBuf,
    pad: u32,
    model_max_length: Option<usize>,
}

impl Tokenizer {
    /// Wraps `tokenizer`, read from `folder`, to pad with the token that `special` names.
    fn new(
        tokenizer: tokenizers::Tokenizer,
        special: &SpecialTokens,
        folder: &Path,
    ) -> Result<Self, TokenizerError> {
        let (_, pad) = special::named(&tokenizer, "pad_token", &special.pad_token, folder)?;
        Self::padded(tokenizer, pad, special.model_max_length(), folder)
    }

    /// Wraps `tokenizer` to pad with `pad`, which it must have; errors call it `name`.
    fn with_padding(
        tokenizer: tokenizers::Tokenizer,
        pad: &str,
        model_max_length: Option<usize>,
        name: &Path,
    ) -> Result<Self, TokenizerError> {
        let missing = || TokenizerError::failed(name, format!("it has no {pad}").into());
        let pad = tokenizer.token_to_id(pad).ok_or_else(missing)?;
        Self::padded(tokenizer, pad, model_max_length, name)
    }

    fn padded(
        mut tokenizer: tokenizers::Tokenizer,
        pad: u32,
        model_max_length: Option<usize>,
        folder: &Path,
    ) -> Result<Self, TokenizerError> {
        // A file may fix a length; here every call has its own.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| TokenizerError::failed(folder, error))?;
        Ok(Self { tokenizer, folder: folder.to_owned(), pad, model_max_length })
    }

    /// Wraps the tokenizer in `folder/tokenizer.json`.
    fn from_json(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let json = file::read(&path)?;
        limits::check(&json).map_err(|why| file::malformed(&path, why))?;
        let tokenizer = guarded(|| tokenizers::Tokenizer::from_bytes(&json))
            .map_err(|error| file::malformed(&path, error))?;
        special::check_ids(&json, &tokenizer).map_err(|why| file::malformed(&path, why))?;
        Self::new(tokenizer, &SpecialTokens::read(folder)?, folder)
    }

    fn failed(&self, error: tokenizers::Error) -> TokenizerError {
        TokenizerError::failed(&self.folder, error)
    }

    /// How many special tokens every prompt gets.
    fn special(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false))
    }

    /// The length that the folder's files recommend, if any: the positions that the encoder has.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// Checks that a text encoder of `rows` embeddings has one for every token.
    ///
    /// # Errors
    /// [`TokenizerError::Vocabulary`], which names `folder`.
    pub fn check_vocabulary(&self, folder: &Path, rows: usize) -> Result<(), TokenizerError> {
        // What is put around every prompt need not be in the vocabulary.
        let around = guarded(|| self.tokenizer.encode("", true)).map_err(|error| self.failed(error))?;
        let around = around.get_ids().iter().copied();
        let largest = self.tokenizer.get_vocab(true).into_values().chain(around).max().unwrap_or_default();
        if (largest as usize) < rows {
            return Ok(());
        }
        Err(TokenizerError::Vocabulary { folder: folder.to_owned(), largest, rows })
    }

    /// The ids of `prompt` with the text encoder's special tokens, which stay even if the prompt is cut, and padding up to
    /// `max_length`.
    ///
    /// # Errors
    /// If `max_length` has no room for the special tokens, or the prompt is longer than any that is read.
    pub fn encode(&self, prompt: &str, max_length: usize) -> Result<Encoding, TokenizerError> {
        let (bytes, most) = (prompt.len(), limits::LONGEST_PROMPT);
        if bytes > most {
            return Err(TokenizerError::TooLong { bytes, most });
        }
        let mut encoding =
            guarded(|| self.tokenizer.encode(prompt, false)).map_err(|error| self.failed(error))?;
        let special = self.special();
        let room = max_length.checked_sub(special).ok_or(TokenizerError::TooShort { max_length, special })?;
        let cut = encoding.get_offsets().get(room).map(|&(start, _)| {
            // A token may begin within a character, as bytes are tokens too.
            prompt[prompt.floor_char_boundary(start)..].to_owned()
        });
        encoding.truncate(room, 0, TruncationDirection::Right);
        // What was cut would be put together with everything around it, in all ways.
        encoding.take_overflowing();
        let encoding = guarded(|| self.tokenizer.post_process(encoding, None, true))
            .map_err(|error| self.failed(error))?;

        let tokens = encoding.len();
        if tokens > max_length {
            let why = format!("its post_processor makes {tokens} tokens of at most {max_length}");
            return Err(self.failed(why.into()));
        }
        let mut ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
        ids.resize(max_length, self.pad as i32);
        Ok(Encoding { ids, tokens, cut })
    }
}

/// Runs code of the `tokenizers` crate, which panics on some malformed `tokenizer.json` files
/// (a damaged `precompiled_charsmap`, for one) and may do so only when a text reaches the fault.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    // Nothing that a panic leaves half done is looked at again: the caller gives the tokenizer up.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(words::of_panic(&*panic).into()))
}
