//! One mapped safetensors file.

use super::WeightsError;
use super::unique::UniqueMap;
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::IgnoredAny;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The header's length, little-endian, comes first.
const LENGTH_BYTES: usize = size_of::<u64>();

/// The format's limit on headers; it also tells files that are something else.
const MAX_HEADER: u64 = 100_000_000;

/// A mapped file whose header has been found consistent with its size.
#[derive(Debug)]
pub(super) struct MappedFile {
    pub(super) path: PathBuf,
    /// Offset of the first tensor's first byte.
    pub(super) data_start: usize,
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`; gives its tensors too, whose offsets count from `data_start`
    /// and lie within the file.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(String, TensorInfo)>), WeightsError> {
        let unreadable = |source| WeightsError::Unreadable { path: path.to_owned(), source };
        let corrupt = |why| WeightsError::Corrupt { path: path.to_owned(), why };

        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is only ever read, as bytes, which have no invalid values. What Rust asks
        // besides, that nobody writes to the file meanwhile, no program can make sure of; as in every
        // loader that maps weights it is up to the user not to change files that are in use.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;

        let have = map.len() as u64;
        let incomplete = |need| WeightsError::Truncated { path: path.to_owned(), have, need };
        let (length, rest) = map.split_first_chunk().ok_or_else(|| incomplete(LENGTH_BYTES as u64))?;
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(corrupt(format!("its first bytes are no header's length ({length})")));
        }
        let header = rest.get(..length as usize).ok_or_else(|| incomplete(LENGTH_BYTES as u64 + length))?;
        let metadata =
            parse(header).map_err(|error| corrupt(format!("its header is malformed ({error})")))?;

        let data_start = LENGTH_BYTES + header.len();
        let need = (data_start as u64)
            .checked_add(metadata.data_len() as u64)
            .ok_or_else(|| corrupt("its tensors end beyond all memory".to_owned()))?;
        if have < need {
            return Err(incomplete(need));
        }
        if have > need {
            return Err(corrupt(format!("{} bytes follow its last tensor", have - need)));
        }
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok((Self { path: path.to_owned(), data_start, map }, tensors))
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// The header's tensors, checked to lie one after another and to be as long as their shapes say.
fn parse(header: &[u8]) -> Result<Metadata, serde_json::Error> {
    serde_json::from_slice::<UniqueMap<IgnoredAny>>(header)?;
    serde_json::from_slice(header)
}
