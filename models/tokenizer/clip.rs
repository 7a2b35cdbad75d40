//! CLIP's tokenizer: lower-cased, byte-level byte pair encoding.

use super::limits::MOST_TOKENS;
use super::special::{self, SpecialTokens, Token};
use super::{Tokenizer, TokenizerError, file, limits};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;

/// CLIP's pattern of words, from OpenAI's `simple_tokenizer.py`.
const WORD: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's tokenizer: reads `vocab.json` and `merges.txt` in `folder` or, without the former, `tokenizer.json`; the special
/// tokens and their rules come from `tokenizer_config.json` and `special_tokens_map.json`.
///
/// It encodes a prompt between a start and an end token.
///
/// # Errors
/// If a file is missing or malformed, or a special token is not named or has no id.
pub fn open(folder: &Path) -> Result<Tokenizer, TokenizerError> {
    if !folder.join("vocab.json").exists() && folder.join("tokenizer.json").exists() {
        return Tokenizer::from_json(folder);
    }
    let special = SpecialTokens::read(folder)?;
    Tokenizer::new(assemble(folder, &special)?, &special, folder)
}

/// The tokenizer that transformers' `CLIPTokenizer` builds from a vocabulary and merges.
fn assemble(folder: &Path, special: &SpecialTokens) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let mut tokenizer = tokenizers::Tokenizer::new(read_model(folder, special)?);
    let spaces = ReplacePattern::Regex(r"\s+".to_owned());
    let spaces = Replace::new(spaces, " ").map_err(|error| TokenizerError::failed(folder, error))?;
    tokenizer.with_normalizer(Some(Normalizers::new(vec![NFC.into(), spaces.into(), Lowercase.into()])));
    let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true)
        .map_err(|error| TokenizerError::failed(folder, error))?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));

    let bos = special::named(&tokenizer, "bos_token", &special.bos_token, folder)?;
    let eos = special::named(&tokenizer, "eos_token", &special.eos_token, folder)?;
    let ends = RobertaProcessing::new(eos, bos).trim_offsets(false).add_prefix_space(false);
    tokenizer.with_post_processor(Some(ends));
    tokenizer.add_tokens(&special.added());
    Ok(tokenizer)
}

/// Every token has its own id.
fn check_ids(vocab: &BTreeMap<String, u32>) -> Result<(), String> {
    let mut tokens: BTreeMap<u32, &str> = BTreeMap::new();
    for (token, &id) in vocab {
        if let Some(other) = tokens.insert(id, token) {
            return Err(format!("the tokens {other:?} and {token:?} both have the id {id}"));
        }
    }
    Ok(())
}

/// Checks that every token of several characters is made by a merge; with merges missing, prompts would get other tokens.
fn check_merges(vocab: &BTreeMap<String, u32>, merges: &str, special: &SpecialTokens) -> Result<(), String> {
    let made: HashSet<String> = merges.lines().map(|merge| merge.replacen(' ', "", 1)).collect();
    let special = special.contents();
    let is_merged = |token: &&String| {
        token.strip_suffix("</w>").unwrap_or(token).chars().count() > 1 && !special.contains(&token.as_str())
    };
    let (found, lacking): (Vec<_>, Vec<_>) =
        vocab.keys().filter(is_merged).partition(|token| made.contains(*token));
    match lacking.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "it lacks the merges for {} of the {} merged tokens in vocab.json, {first:?} the first",
            lacking.len(),
            found.len() + lacking.len()
        )),
    }
}

fn read_model(folder: &Path, special: &SpecialTokens) -> Result<BPE, TokenizerError> {
    let [vocab_path, merges_path] = ["vocab.json", "merges.txt"].map(|file| folder.join(file));
    let vocab: BTreeMap<String, u32> = file::read_json(&vocab_path)?;
    limits::check_tokens(vocab.keys().map(String::as_str), MOST_TOKENS)
        .map_err(|why| file::malformed(&vocab_path, why))?;
    let merges = file::read_text(&merges_path)?;
    let lines: Vec<&str> = merges.lines().collect();
    limits::check_tokens(lines.iter().copied(), MOST_TOKENS)
        .map_err(|why| file::malformed(&merges_path, why))?;
    check_ids(&vocab).map_err(|why| file::malformed(&vocab_path, why))?;
    check_merges(&vocab, &merges, special).map_err(|why| file::malformed(&merges_path, why))?;
    // The model's own reader of these files does not tell which one is at fault.
    let model = json!({
        "vocab": vocab,
        "merges": lines,
        "unk_token": special.unk_token.as_ref().map(Token::content),
        "end_of_word_suffix": "</w>",
    });
    serde_json::from_value(model).map_err(|error| file::malformed(&merges_path, error))
}
