//! The files of a tokenizer's folder.

use super::TokenizerError;
use crate::{first_bytes, json};
use reflux_ir::words;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::Path;

const AGAIN: &str = "download it again";

/// The contents of a file, unless they are recognisably something else.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let bytes = first_bytes::read(path)
        .map_err(|source| TokenizerError::Unreadable { path: path.to_owned(), source })?;
    match first_bytes::recognise(&bytes) {
        Some(foreign) => {
            let why = format!("it is {foreign}");
            Err(TokenizerError::Malformed { path: path.to_owned(), why })
        }
        None => Ok(bytes),
    }
}

/// The contents of a text file.
pub(super) fn read_text(path: &Path) -> Result<String, TokenizerError> {
    String::from_utf8(read(path)?).map_err(|error| malformed(path, error))
}

/// The value of a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TokenizerError> {
    json::parse(&read(path)?, AGAIN).map_err(|why| TokenizerError::Malformed { path: path.to_owned(), why })
}

/// The error for a file with the wrong content.
pub(super) fn malformed(path: &Path, why: impl Display) -> TokenizerError {
    TokenizerError::Malformed {
        path: path.to_owned(),
        why: format!("{}; {AGAIN}", words::shortened(why.to_string())),
    }
}
