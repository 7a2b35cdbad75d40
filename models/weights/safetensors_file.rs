//! Headers of safetensors files.

use super::encoding::TensorEncoding;
use super::error::WeightsError;
use super::header::{FileHeader, Tensor};
use super::unique::UniqueMap;
use crate::first_bytes::{Foreign, recognise};
use crate::onnx::is_onnx;
use reflux_ir::words;
use safetensors::tensor;
use serde::de::IgnoredAny;
use std::path::Path;

/// The header's length, little-endian, comes first.
const LENGTH_BYTES: usize = size_of::<u64>();

/// The format's limit on headers, which also identifies files in other formats.
const MAX_HEADER: u64 = 100_000_000;

/// What the header of the file `path`, all of whose bytes are given, says.
pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<FileHeader, WeightsError> {
    let corrupt = |why| WeightsError::Corrupt { path: path.to_owned(), container: "safetensors", why };
    let have = bytes.len() as u64;
    let incomplete = |need| WeightsError::Truncated { path: path.to_owned(), have, need };
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| incomplete(LENGTH_BYTES as u64))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(corrupt(format!("its first bytes are not the length of a header ({length})")));
    }
    let header = rest.get(..length as usize).ok_or_else(|| incomplete(LENGTH_BYTES as u64 + length))?;
    let parsed = parse(header).map_err(|error| {
        corrupt(format!("its header is malformed ({})", words::of_serde(&error.to_string())))
    })?;

    let start = LENGTH_BYTES + header.len();
    let need = (start as u64)
        .checked_add(parsed.data_len() as u64)
        .ok_or_else(|| corrupt("its tensors are larger than any memory".to_owned()))?;
    if have < need {
        return Err(incomplete(need));
    }
    if have > need {
        return Err(corrupt(format!("{} bytes follow its last tensor", have - need)));
    }
    let tensors = parsed.tensors().into_iter().map(|(name, info)| Tensor {
        name,
        encoding: TensorEncoding::Elements(info.dtype),
        shape: info.shape.clone(),
        bytes: start + info.data_offsets.0..start + info.data_offsets.1,
    });
    let metadata = parsed.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    Ok(FileHeader { tensors: tensors.collect(), metadata: metadata.collect() })
}

/// Whether a file that begins with `head` begins like safetensors, with a length and then JSON.
pub(super) fn begins(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else { return false };
    u64::from_le_bytes(*length) <= MAX_HEADER && rest.first() == Some(&b'{')
}

/// Refuses, by name, files that do not begin like safetensors, with a length and then JSON.
pub(super) fn refuse_others(path: &Path, head: &[u8]) -> Result<(), WeightsError> {
    let Some((length, _)) = head.split_first_chunk() else { return Ok(()) };
    if begins(head) {
        return Ok(());
    }
    if is_pickle(head) {
        return Err(WeightsError::Pickle { path: path.to_owned() });
    }
    if is_onnx(path) {
        let fix = "give it to `reflux opt`, `reflux run` or another command that takes programs; here weights are meant";
        let (path, foreign) = (path.to_owned(), Foreign::new("an ONNX model", fix).into());
        return Err(WeightsError::Foreign { path, foreign });
    }
    let foreign = recognise(head).or_else(|| {
        if head.iter().all(|&byte| byte == 0) && head.len() > LENGTH_BYTES {
            return Some(Foreign::new(
                "a file that begins with zeros, like an unfinished download",
                "download it again",
            ));
        }
        let text = std::str::from_utf8(head)
            .ok()
            .filter(|text| !text.contains(|c: char| c.is_control() && !c.is_whitespace()));
        let line = text.filter(|_| u64::from_le_bytes(*length) > MAX_HEADER)?.trim().lines().next()?;
        let line: String = line.chars().take(60).collect();
        Some(Foreign::new(
            format!("a text file ({line:?}…)"),
            "give a safetensors or GGUF file; if this was downloaded, download it again",
        ))
    });
    match foreign {
        Some(foreign) => Err(WeightsError::Foreign { path: path.to_owned(), foreign: foreign.into() }),
        None => Ok(()),
    }
}

/// Whether a file is a pickle, plain or inside a zip archive as written by `torch.save`.
fn is_pickle(head: &[u8]) -> bool {
    let in_archive = || head.windows(8).any(|bytes| bytes == b"data.pkl");
    matches!(head, [0x80, 2..=5, ..]) || head.starts_with(b"PK\x03\x04") && in_archive()
}

/// The header's tensors, checked to lie one after another and to be as long as their shapes say.
fn parse(header: &[u8]) -> Result<tensor::Metadata, serde_json::Error> {
    serde_json::from_slice::<UniqueMap<IgnoredAny>>(header)?;
    serde_json::from_slice(header)
}
