//! The special tokens that a tokenizer's folder names, found as transformers finds them.

use super::limits::{self, MOST_ADDED};
use super::{TokenizerError, file};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use tokenizers::{AddedToken, Model, Tokenizer};

/// The settings used of `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SpecialTokens {
    added_tokens_decoder: Option<BTreeMap<u32, SpecialToken>>,
    pub(super) bos_token: Option<SpecialToken>,
    pub(super) eos_token: Option<SpecialToken>,
    pub(super) unk_token: Option<SpecialToken>,
    pub(super) pad_token: Option<SpecialToken>,
    /// Transformers writes 10³⁰ for no limit.
    model_max_length: Option<f64>,
}

/// A token, with or without the rules of where it matches in a text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum SpecialToken {
    Plain(String),
    WithRules {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    },
}

impl SpecialTokens {
    /// The tokens themselves.
    pub(super) fn contents(&self) -> Vec<&str> {
        let named =
            [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token].into_iter().flatten();
        let added = self.added_tokens_decoder.iter().flat_map(BTreeMap::values);
        named.chain(added).map(SpecialToken::content).collect()
    }
}

impl SpecialToken {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Plain(content) | Self::WithRules { content, .. } => content,
        }
    }

    /// The token for the `tokenizers` crate, which also is `special` if the caller knows that it is.
    fn to_added(&self, known_special: bool) -> AddedToken {
        match self {
            Self::Plain(content) => AddedToken::from(content, true),
            Self::WithRules { content, single_word, lstrip, rstrip, normalized, special } => AddedToken {
                content: content.clone(),
                single_word: *single_word,
                lstrip: *lstrip,
                rstrip: *rstrip,
                normalized: normalized.unwrap_or(!special),
                special: *special || known_special,
            },
        }
    }
}

impl SpecialTokens {
    /// Reads the files in `folder`. `special_tokens_map.json` counts only beside configurations
    /// without `added_tokens_decoder`, which older versions of transformers wrote.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let read = |name: &str| {
            let path = folder.join(name);
            let tokens: Self = read_json(&path)?;
            limits::check_tokens(tokens.contents().into_iter(), MOST_ADDED)
                .map_err(|why| file::malformed(&path, why))?;
            Ok(tokens)
        };
        let config = read("tokenizer_config.json")?;
        if config.added_tokens_decoder.is_some() {
            return Ok(config);
        }
        let map = read("special_tokens_map.json")?;
        Ok(Self {
            bos_token: map.bos_token.or(config.bos_token),
            eos_token: map.eos_token.or(config.eos_token),
            unk_token: map.unk_token.or(config.unk_token),
            pad_token: map.pad_token.or(config.pad_token),
            ..config
        })
    }

    /// The longest sequence that the text encoder was made for, if the files tell.
    pub(super) fn model_max_length(&self) -> Option<usize> {
        self.model_max_length.filter(|length| (1.0..1e15).contains(length)).map(|length| length as usize)
    }

    /// Every token to be found in a prompt before it is split, listed ones by id. Of several with
    /// the same content the listed one counts, or the last of the named.
    pub(super) fn added(&self) -> Vec<AddedToken> {
        let named = [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token];
        let named: BTreeMap<&str, &SpecialToken> =
            named.into_iter().flatten().map(|token| (token.content(), token)).collect();
        let listed: Vec<&SpecialToken> =
            self.added_tokens_decoder.iter().flat_map(BTreeMap::values).collect();
        let is_listed = |content| listed.iter().any(|token| token.content() == content);
        let unlisted = named.values().filter(|token| !is_listed(token.content()));
        let tokens = listed.iter().chain(unlisted);
        tokens.map(|token| token.to_added(named.contains_key(token.content()))).collect()
    }
}

/// The token in the given role, which the files in `folder` must name, and its id in the
/// vocabulary: one that is merely added would have no row in the text encoder's embedding.
pub(super) fn named(
    tokenizer: &Tokenizer,
    role: &'static str,
    token: &Option<SpecialToken>,
    folder: &Path,
) -> Result<(String, u32), TokenizerError> {
    let content = token.as_ref().map(|token| token.content().to_owned());
    let id = content.as_ref().and_then(|content| tokenizer.get_model().token_to_id(content));
    content.clone().zip(id).ok_or_else(|| TokenizerError::SpecialToken {
        folder: folder.to_owned(),
        role,
        token: content,
    })
}

/// The contents of a JSON file, or the default if there is no such file, not even a link that leads nowhere.
fn read_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TokenizerError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        _ => file::read_json(path),
    }
}

/// Checks that the tokens that the file `json` of `tokenizer` adds have the ids that it says: the `tokenizers` crate counts them on,
/// whatever it says.
///
/// # Errors
/// The first that has another id.
pub(super) fn check_ids(json: &[u8], tokenizer: &Tokenizer) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    // What is malformed was found before.
    let Ok(File { added_tokens }) = serde_json::from_slice(json) else { return Ok(()) };
    for Added { id, content } in added_tokens {
        match tokenizer.token_to_id(&content) {
            Some(own) if own != id => {
                return Err(format!(
                    "its added token {content:?} has the id {id}, and {own} is the next that is free"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
