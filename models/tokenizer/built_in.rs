//! Tokenizers that come with the program, for models that are files of weights: those of CLIP and of T5 v1.1, which all
//! checkpoints of FLUX.1 share.
//!
//! `clip_merges.txt.gz` is OpenAI's `bpe_simple_vocab_16e6.txt` (MIT licence) cut to the merges that CLIP uses, and
//! `t5_tokenizer.json.gz` is `tokenizer.json` of google/t5-v1_1-xxl (Apache 2.0).

use super::clip::{assembled, vocabulary};
use super::{Tokenizer, TokenizerError, guarded};
use flate2::read::GzDecoder;
use std::io::Read;

static CLIP_MERGES: &[u8] = include_bytes!("built_in/clip_merges.txt.gz");
static T5: &[u8] = include_bytes!("built_in/t5_tokenizer.json.gz");

/// The longest prompts that T5 was trained with, in tokens.
const T5_TOKENS: usize = 512;

/// CLIP's positions.
const CLIP_TOKENS: usize = 77;

/// CLIP's tokenizer, of 49408 tokens.
///
/// # Errors
/// None: it is tested.
pub fn clip() -> Result<Tokenizer, TokenizerError> {
    let merges = text(CLIP_MERGES);
    let merges: Vec<&str> = merges.lines().skip(1).collect();
    let special = ["<|startoftext|>", "<|endoftext|>"];
    let tokens = vocabulary(&merges).into_iter().chain(special.map(str::to_owned));
    let ids = (0..).zip(tokens).map(|(id, token)| (token, id)).collect();
    let tokenizer = assembled(ids, &merges, special)?;
    Tokenizer::with_padding(tokenizer, special[1], Some(CLIP_TOKENS))
}

/// T5's tokenizer, of 32100 tokens.
///
/// # Errors
/// None: it is tested.
pub fn t5() -> Result<Tokenizer, TokenizerError> {
    let json = text(T5);
    let tokenizer = guarded(|| tokenizers::Tokenizer::from_bytes(json)).map_err(TokenizerError::failed)?;
    Tokenizer::with_padding(tokenizer, "<pad>", Some(T5_TOKENS))
}

fn text(compressed: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(compressed).read_to_string(&mut text).expect("it comes with the program");
    text
}
