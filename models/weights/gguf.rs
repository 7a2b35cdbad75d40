//! Headers of GGUF files, as described in ggml's `docs/gguf.md`: versions 2 and 3, little-endian.

mod reader;
mod types;

use super::encoding::TensorEncoding;
use super::error::WeightsError;
use super::header::{FileHeader, Metadata, Tensor};
use reader::{Reader, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The first bytes of every GGUF file.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// Where tensors begin is a multiple of this, if the file does not say otherwise.
const ALIGNMENT: u64 = 32;

/// ComfyUI-GGUF's key for the shape of a tensor that is stored in another one, before the tensor's name.
const SHAPE_KEY: &str = "comfy.gguf.orig_shape.";

/// The most axes of a tensor.
const MOST_AXES: u32 = 4;

/// What the header of the file `path`, all of whose bytes are given, says.
pub(super) fn header(path: &Path, bytes: &[u8]) -> Result<FileHeader, WeightsError> {
    let corrupt = |why| WeightsError::Corrupt { path: path.to_owned(), container: "GGUF", why };
    let truncated = |need| WeightsError::Truncated { path: path.to_owned(), have: bytes.len() as u64, need };
    let stopped = |stop| match stop {
        Stop::End(need) => truncated(need),
        Stop::Why(why) => corrupt(why),
    };
    let mut reader = Reader::new(bytes);
    let (keys, infos) = read(&mut reader).map_err(stopped)?;
    let alignment = match keys.numbers.get("general.alignment") {
        None => ALIGNMENT,
        Some(&alignment) if alignment.is_power_of_two() && alignment <= 1 << 20 => alignment,
        Some(other) => return Err(corrupt(format!("its alignment is {other}, not a power of two"))),
    };
    let start = reader.position().next_multiple_of(alignment);
    let mut names = BTreeSet::new();
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        if !names.insert(info.name.clone()) {
            return Err(corrupt(format!("it has two tensors `{}`", info.name)));
        }
        if !info.offset.is_multiple_of(alignment) {
            return Err(corrupt(format!(
                "`{}` does not begin at a multiple of {alignment} bytes",
                info.name
            )));
        }
        let end = start.checked_add(info.offset).and_then(|first| first.checked_add(info.size as u64));
        let end = end.ok_or_else(|| corrupt(format!("`{}` is larger than any file", info.name)))?;
        if end > bytes.len() as u64 {
            return Err(truncated(end));
        }
        let shape = keys.shape_of(&info.name, info.shape).map_err(corrupt)?;
        let bytes = end as usize - info.size..end as usize;
        tensors.push(Tensor { name: info.name, encoding: info.encoding, shape, bytes });
    }
    Ok(FileHeader { tensors, metadata: keys.texts })
}

/// The keys that are of use here.
#[derive(Default)]
struct Keys {
    texts: Metadata,
    numbers: BTreeMap<String, u64>,
    lists: BTreeMap<String, Vec<u64>>,
}

impl Keys {
    /// The shape of the tensor `name`, which is stored in the shape `stored`.
    fn shape_of(&self, name: &str, stored: Vec<usize>) -> Result<Vec<usize>, String> {
        let Some(told) = self.lists.get(&format!("{SHAPE_KEY}{name}")) else { return Ok(stored) };
        let told: Option<Vec<usize>> = told.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let elements =
            |shape: &[usize]| shape.iter().try_fold(1, |all: usize, &extent| all.checked_mul(extent));
        told.filter(|told| elements(told) == elements(&stored)).ok_or_else(|| {
            format!("`{name}` of shape {stored:?} cannot have the shape that `{SHAPE_KEY}{name}` says")
        })
    }
}

/// What is said of a tensor.
struct Info {
    name: String,
    encoding: TensorEncoding,
    shape: Vec<usize>,
    /// In bytes, from the first tensor on.
    offset: u64,
    size: usize,
}

/// Everything in front of the tensors.
fn read(reader: &mut Reader<'_>) -> Result<(Keys, Vec<Info>), Stop> {
    reader.skip(MAGIC.len() as u64)?;
    let version = reader.u32()?;
    if !matches!(version, 2 | 3) {
        let swapped = if matches!(version.swap_bytes(), 2 | 3) { ", that is, it is big-endian" } else { "" };
        return Err(Stop::Why(format!("its version is {version}{swapped}; versions 2 and 3 are read")));
    }
    let (tensors, pairs) = (reader.count(Info::LEAST)?, reader.count(types::LEAST_PAIR)?);
    let mut keys = Keys::default();
    for _ in 0..pairs {
        let key = reader.text()?;
        types::value(reader, key, &mut keys)?;
    }
    let infos = (0..tensors).map(|_| Info::read(reader)).collect::<Result<_, _>>()?;
    Ok((keys, infos))
}

impl Info {
    /// The fewest bytes that one takes: the lengths of its name and axes, its type and offset.
    const LEAST: u64 = 8 + 4 + 4 + 8;

    fn read(reader: &mut Reader<'_>) -> Result<Self, Stop> {
        let name = reader.text()?;
        let axes = reader.u32()?;
        if axes > MOST_AXES {
            return Err(Stop::Why(format!("`{name}` has {axes} axes; at most {MOST_AXES} are allowed")));
        }
        let mut shape = (0..axes).map(|_| reader.u64()).collect::<Result<Vec<u64>, _>>()?;
        // The fastest comes first there, and last here.
        shape.reverse();
        let encoding = types::encoding(&name, reader.u32()?)?;
        let offset = reader.u64()?;
        let large = || Stop::Why(format!("`{name}` of shape {shape:?} is larger than any memory"));
        let shape: Vec<usize> = shape
            .iter()
            .map(|&extent| usize::try_from(extent))
            .collect::<Result<_, _>>()
            .map_err(|_| large())?;
        let elements =
            shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent)).ok_or_else(large)?;
        let columns = shape.last().copied().unwrap_or(1);
        let torn =
            || Stop::Why(format!("`{name}` has rows of {columns} elements, which are not whole blocks"));
        encoding.bytes(columns).ok_or_else(torn)?;
        let size = encoding.bytes(elements).ok_or_else(large)?;
        Ok(Self { name, encoding, shape, offset, size })
    }
}
