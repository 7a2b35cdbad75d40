//! CLIP's tokenizer: lower-cased, byte-level byte pair encoding.

use super::special::{self, SpecialTokens, Token};
use super::{Tokenizer, TokenizerError, file};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use tokenizers::AddedToken;
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
    let model = read_model(folder, special)?;
    let named = tokenizers::Tokenizer::new(model.clone());
    let bos = special::named(&named, "bos_token", &special.bos_token, folder)?;
    let eos = special::named(&named, "eos_token", &special.eos_token, folder)?;
    around(model, bos, eos, &special.added())
}

/// The tokenizer with this model that puts prompts between the tokens `bos` and `eos`, and finds `added` before it splits.
fn around(
    model: BPE,
    bos: (String, u32),
    eos: (String, u32),
    added: &[AddedToken],
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let spaces = ReplacePattern::Regex(r"\s+".to_owned());
    let spaces = Replace::new(spaces, " ").map_err(TokenizerError::failed)?;
    tokenizer.with_normalizer(Some(Normalizers::new(vec![NFC.into(), spaces.into(), Lowercase.into()])));
    let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true)
        .map_err(TokenizerError::failed)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    let ends = RobertaProcessing::new(eos, bos).trim_offsets(false).add_prefix_space(false);
    tokenizer.with_post_processor(Some(ends));
    tokenizer.add_tokens(added);
    Ok(tokenizer)
}

/// The tokenizer of a vocabulary whose special tokens are the start and the end of a prompt.
pub(super) fn assembled(
    vocabulary: BTreeMap<String, u32>,
    merges: &[&str],
    [bos, eos]: [&str; 2],
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let ends = [bos, eos].map(|token| (token.to_owned(), vocabulary[token]));
    let model =
        model(&vocabulary, merges, Some(eos)).map_err(|error| TokenizerError::failed(error.into()))?;
    let added = [bos, eos].map(|token| AddedToken::from(token, true));
    let [bos, eos] = ends;
    around(model, bos, eos, &added)
}

/// CLIP's tokens in the order of their ids but for the special ones: bytes, bytes that end a word, and what each merge makes
/// (`simple_tokenizer.py`).
pub(super) fn vocabulary(merges: &[&str]) -> Vec<String> {
    let is_shown = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let shown = (0..=u8::MAX).filter(is_shown).map(char::from);
    // The others stand behind all bytes in Unicode.
    let hidden = (0..=u8::MAX).filter(|byte| !is_shown(byte)).zip('\u{100}'..).map(|(_, stands)| stands);
    let bytes: Vec<String> = shown.chain(hidden).map(String::from).collect();
    let ends: Vec<String> = bytes.iter().map(|byte| format!("{byte}</w>")).collect();
    let merged = merges.iter().map(|merge| merge.replacen(' ', "", 1));
    bytes.iter().cloned().chain(ends).chain(merged).collect()
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
    let merges = file::read_text(&merges_path)?;
    check_ids(&vocab).map_err(|why| file::malformed(&vocab_path, why))?;
    check_merges(&vocab, &merges, special).map_err(|why| file::malformed(&merges_path, why))?;
    // The model's own reader of these files does not tell which one is at fault.
    let unknown = special.unk_token.as_ref().map(Token::content);
    let merges: Vec<&str> = merges.lines().collect();
    model(&vocab, &merges, unknown).map_err(|error| file::malformed(&merges_path, error))
}

fn model(
    vocabulary: &BTreeMap<String, u32>,
    merges: &[&str],
    unknown: Option<&str>,
) -> Result<BPE, serde_json::Error> {
    serde_json::from_value(json!({
        "vocab": vocabulary,
        "merges": merges,
        "unk_token": unknown,
        "end_of_word_suffix": "</w>",
    }))
}
