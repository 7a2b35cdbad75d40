//! Recognition, by tensor names, of checkpoints that are quantized or belong to unsupported networks.
//!
//! They are refused with an explanation. To support one of these kinds, remove it from its table and add a
//! [`Layout`](super::layout::Layout) or a way to decode it.

mod kinds;
mod scheme;

use self::kinds::ForeignKind;
use super::error::WeightsError;
use super::stored::Stored;
use crate::first_bytes::Foreign;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) use scheme::scheme;

/// Refuses checkpoints of a kind that is known and not read.
pub(super) fn refuse(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<(), WeightsError> {
    let names = tensors.keys().map(String::as_str);
    refuse_one_of(kinds::KINDS, path, names)
}

/// As [`refuse`], for kinds whose names other checkpoints may have too, and which are therefore looked for last.
pub(super) fn refuse_unknown(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<(), WeightsError> {
    let names = tensors.keys().map(String::as_str);
    refuse_one_of(kinds::LAST, path, names)
}

fn refuse_one_of<'a>(
    kinds: &[ForeignKind],
    path: &Path,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), WeightsError> {
    let Some(kind) = kinds.iter().find(|kind| kind.is_of(names.clone())) else { return Ok(()) };
    let example = kind.example(names).unwrap_or_default();
    let foreign = Foreign::new(format!("{} (it has `{example}`)", kind.what), kind.advice);
    Err(WeightsError::Foreign { path: path.to_owned(), foreign: foreign.into() })
}
