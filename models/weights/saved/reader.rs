//! Reading of saved weights.

use super::pieces::{Piece, is_packed, pieces};
use crate::weights::encoding::TensorEncoding;
use crate::weights::error::WeightsError;
use crate::weights::file::{MappedFile, Opened};
use crate::weights::header::{FileHeader, Tensor};
use reflux_ir::text::parse_type;
use reflux_ir::{DType, Fact, Program, WeightData, WeightError, WeightRows, WeightSource};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The weights of a compiled network, in mapped files.
#[derive(Debug)]
pub struct SavedWeights {
    /// Their folder, for messages.
    path: PathBuf,
    files: Vec<MappedFile>,
    weights: BTreeMap<String, Saved>,
}

/// A weight in a file.
#[derive(Debug)]
struct Saved {
    fact: Fact,
    /// Index into the files.
    file: usize,
    /// The bytes of its pieces within the file.
    pieces: Vec<Range<usize>>,
}

impl SavedWeights {
    /// Opens `files`, which are in the folder `path`, reading only headers.
    ///
    /// # Errors
    /// If one cannot be read, or its tensors are not those that its metadata speaks of.
    pub fn open(path: &Path, files: &[PathBuf]) -> Result<Self, WeightsError> {
        let mut saved = Self { path: path.to_owned(), files: Vec::new(), weights: BTreeMap::new() };
        for path in files {
            let Opened { file, header } = MappedFile::open(path)?;
            let index = saved.files.len();
            saved.files.push(file);
            let weights = weights(header).map_err(|why| WeightsError::Corrupt {
                path: path.clone(),
                container: "safetensors",
                why,
            })?;
            for (name, fact, pieces) in weights {
                if let Some(other) = saved.weights.get(&name) {
                    let first = saved.files[other.file].path.clone();
                    return Err(WeightsError::Duplicate { tensor: name, first, second: path.clone() });
                }
                saved.weights.insert(name, Saved { fact, file: index, pieces });
            }
        }
        Ok(saved)
    }

    /// Names and types of all weights, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.weights.iter().map(|(name, saved)| (name.as_str(), &saved.fact))
    }

    /// Checks that all that `program` reads is there in the types in which it reads it.
    ///
    /// # Errors
    /// [`WeightsError::NotSaved`].
    pub fn check(&self, program: &Program) -> Result<(), WeightsError> {
        for (_, graph) in program.stages() {
            for (name, wanted) in graph.weights() {
                let saved = self.weights.get(name).map(|saved| &saved.fact);
                if !saved.is_some_and(|saved| is_readable_as(saved, wanted)) {
                    let (path, name) = (self.path.clone(), name.to_owned());
                    let (saved, wanted) = (saved.cloned(), wanted.clone());
                    return Err(WeightsError::NotSaved(Box::new(NotSaved { path, name, saved, wanted })));
                }
            }
        }
        Ok(())
    }
}

/// A weight that a compiled model does not have as a program reads it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} holds {}, and the program reads `{name}` as {wanted}; compile the model that it was made from into another folder, with \
     what makes the program read it so",
    path.display(),
    saved.as_ref().map_or_else(|| "no such weight".to_owned(), |saved| format!("`{name}` as {saved}")),
)]
pub struct NotSaved {
    path: PathBuf,
    name: String,
    saved: Option<Fact>,
    wanted: Fact,
}

/// Whether a weight of type `saved` can be read as one of type `wanted` with no bit lost: as it is, or as numbers of more bits.
fn is_readable_as(saved: &Fact, wanted: &Fact) -> bool {
    let is_float = |fact: &Fact| fact.scales.is_none() && fact.dtype.is_float();
    let widens = is_float(saved) && wanted.scales.is_none() && wanted.dtype == DType::F32;
    saved.same_type(wanted) || widens && saved.shape == wanted.shape
}

/// A weight of a file: its name, its type and where its pieces are.
type Found = (String, Fact, Vec<Range<usize>>);

/// The weights of a file; an error says what is wrong.
fn weights(header: FileHeader) -> Result<Vec<Found>, String> {
    let mut tensors: BTreeMap<String, Tensor> =
        header.tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut found = Vec::new();
    for (name, text) in header.metadata {
        let fact = parse_type(&text).map_err(|_| format!("the type `{text}` of `{name}` is none"))?;
        let pieces = pieces(&name, &fact).ok_or_else(|| format!("`{name}` cannot be {fact}"))?;
        let mut places = Vec::new();
        for Piece { name: piece, dtype, shape } in pieces {
            let is_it =
                |tensor: &Tensor| tensor.encoding == TensorEncoding::Elements(dtype) && tensor.shape == shape;
            let tensor = tensors.remove(&piece).filter(is_it);
            let tensor = tensor.ok_or_else(|| format!("`{piece}`, of {fact}, is not {dtype:?} {shape:?}"))?;
            places.push(tensor.bytes);
        }
        found.push((name, fact, places));
    }
    match tensors.keys().next() {
        Some(stray) => Err(format!("it does not say of what type `{stray}` is")),
        None => Ok(found),
    }
}

impl Saved {
    /// Its rows as a program reads them that knows it as `wanted`, which it is [readable as](is_readable_as).
    fn rows<'s>(&'s self, file: &'s [u8], wanted: &Fact) -> WeightRows<'s> {
        let (fact, bytes) = (self.fact.clone(), &file[self.pieces[0].clone()]);
        let Some(scales) = fact.scales else {
            return match fact.same_type(wanted) {
                true => WeightRows::new(fact.clone(), copies(bytes, fact.row_bytes())),
                false => widened(bytes, fact.dtype, Fact::new(wanted.dtype, fact.shape)),
            };
        };
        let numbers = |piece: &Range<usize>| scales.dtype.decode(&file[piece.clone()]);
        let (factors, row) = (numbers(&self.pieces[1]), fact.row_bytes());
        let rows = match is_packed(&fact) {
            true => WeightRows::coded(fact, factors, unpacks(bytes, row)),
            false => WeightRows::coded(fact, factors, copies(bytes, row)),
        };
        rows.with_zeros(self.pieces.get(2).map(numbers).unwrap_or_default())
    }
}

/// What writes the rows of `bytes`, which has them as they are wanted.
fn copies(bytes: &[u8], row: usize) -> impl Fn(usize, &mut [u8]) + Send + Sync {
    move |first, to| to.copy_from_slice(&bytes[first * row..][..to.len()])
}

/// What writes the rows of `bytes`, which has two codes to a byte, to a byte each.
fn unpacks(bytes: &[u8], row: usize) -> impl Fn(usize, &mut [u8]) + Send + Sync {
    move |first, to| {
        let stored = &bytes[first * row / 2..][..to.len() / 2];
        for (pair, &byte) in to.chunks_exact_mut(2).zip(stored) {
            pair.copy_from_slice(&[byte & 15, byte >> 4]);
        }
    }
}

/// The rows of `bytes`, numbers of the type `from`, as numbers of the type of `wanted`.
fn widened(bytes: &[u8], from: DType, wanted: Fact) -> WeightRows<'_> {
    let (to, row) = (wanted.dtype, wanted.row_bytes());
    WeightRows::new(wanted, move |first, rows: &mut [u8]| {
        let (start, count) = (first * row / to.bytes(), rows.len() / to.bytes());
        let stored = &bytes[start * from.bytes()..][..count * from.bytes()];
        (to.codec().encode)(&from.decode(stored), rows);
    })
}

impl WeightSource for SavedWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let rows = self.rows(name, fact)?;
        Ok((&rows.expect("every saved weight has rows")).into())
    }

    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let saved = self.weights.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        if !is_readable_as(&saved.fact, fact) {
            let path = self.files[saved.file].path.display();
            let why = format!("{path} holds it as {}, and the program reads it as {fact}", saved.fact);
            return Err(WeightError::Unreadable { name: name.to_owned(), why });
        }
        Ok(Some(saved.rows(self.files[saved.file].bytes(), fact)))
    }
}
