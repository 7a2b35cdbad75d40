//! T5's tokenizer: SentencePiece unigrams.

use super::{Tokenizer, TokenizerError, file};
use std::path::Path;

/// T5's tokenizer: reads `tokenizer.json` and, for the padding, `tokenizer_config.json` in `folder`.
///
/// It encodes a prompt before an end token.
///
/// # Errors
/// If a file is missing or malformed, or no padding token is named.
pub fn open(folder: &Path) -> Result<Tokenizer, TokenizerError> {
    let tokenizer = Tokenizer::from_json(folder)?;
    if tokenizer.special() == 0 {
        let why = "it has no `post_processor` that appends an end token to a prompt, as T5 needs";
        return Err(file::malformed(&folder.join("tokenizer.json"), why));
    }
    Ok(tokenizer)
}
