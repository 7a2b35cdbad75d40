//! Codes whose scales are tensors of their own, beside them: each matrix is joined with its scales, which then are no tensors any
//! more. What is left over is for [`foreign`](super::foreign) to refuse.

mod bitsandbytes;
mod comfy;

pub(super) use comfy::{HEADER as DESCRIPTIONS, layers as described_layers};

use super::error::WeightsError;
use super::header::Metadata;
use super::stored::Stored;
use crate::first_bytes::Foreign;
use std::collections::BTreeMap;
use std::path::Path;

/// The tensors of a checkpoint, to be joined.
pub(super) struct Joining<'c> {
    pub path: &'c Path,
    pub tensors: &'c mut BTreeMap<String, Stored>,
    pub metadata: &'c Metadata,
    /// The bytes of a tensor in one piece.
    pub bytes: &'c dyn Fn(&Stored) -> Vec<u8>,
}

/// Joins what belongs together.
pub(super) fn join(mut joining: Joining<'_>) -> Result<(), WeightsError> {
    bitsandbytes::join(&mut joining)?;
    comfy::join(&mut joining)
}

impl Joining<'_> {
    /// The error for the tensor `name`.
    fn refuse(&self, name: &str, why: impl AsRef<str>) -> WeightsError {
        let what = format!("quantized in a way that cannot be read: `{name}` {}", why.as_ref());
        let advice = "download the file again, or give the one that it was made from, and quantize it here";
        WeightsError::Foreign { path: self.path.to_owned(), foreign: Foreign::new(what, advice).into() }
    }

    /// The modules that have a tensor with one of these endings, `module.ending`.
    fn modules(&self, ending: &str) -> Vec<String> {
        let module = |name: &String| Some(name.strip_suffix(ending)?.strip_suffix('.')?.to_owned());
        self.tensors.keys().filter_map(module).collect()
    }

    /// Takes the tensor `name` out, with its bytes.
    fn take(&mut self, name: &str) -> Option<(Stored, Vec<u8>)> {
        let stored = self.tensors.remove(name)?;
        let bytes = (self.bytes)(&stored);
        Some((stored, bytes))
    }
}
