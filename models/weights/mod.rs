//! Weights from safetensors files, read in place.
//!
//! Files are memory-mapped, so that opening a checkpoint reads no more than its headers. Tensors
//! go by their diffusers names; single-file transformers in Black Forest Labs' own layout are
//! presented under these too.

mod bfl;
mod check;
mod error;
mod file;
mod locate;
mod random;
mod unique;

pub use check::Mismatch;
pub use error::WeightsError;
pub use random::RandomWeights;

use file::MappedFile;
use rayon::prelude::*;
use reflux_ir::{DType, HostTensor, WeightError, WeightSource};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes that one thread copies.
const SHARE: usize = 1 << 20;

/// The tensors of one network, in one or more mapped files.
#[derive(Debug)]
pub struct Weights {
    /// Where they were opened, for messages.
    path: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Index into [`Weights::files`].
    file: usize,
    /// The byte ranges of that file which make up the tensor, in order.
    parts: Vec<Range<usize>>,
}

/// A tensor in a mapped file.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightView<'a> {
    /// The type it is stored in: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: &'a [usize],
    /// Its little-endian elements in row-major order, in consecutive pieces of whole rows.
    pub parts: Vec<&'a [u8]>,
}

impl WeightView<'_> {
    /// A copy of the tensor in the type it is stored in.
    pub fn to_tensor(&self) -> HostTensor {
        let bytes = self.parts.iter().map(|part| part.len()).sum();
        let mut copy = vec![0; bytes];
        let mut rest = &mut copy[..];
        for part in &self.parts {
            let (to, after) = rest.split_at_mut(part.len());
            rest = after;
            // Reading from the file, and memory that is new, is what takes the time.
            to.par_chunks_mut(SHARE)
                .zip(part.par_chunks(SHARE))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }
        HostTensor::new(self.dtype, self.shape.to_vec(), copy)
    }
}

impl Weights {
    /// Opens the weights at `path`: a safetensors file, a `*.safetensors.index.json` of a sharded
    /// checkpoint, or a folder with either. A transformer in Black Forest Labs' layout, bare or
    /// under the prefix `model.diffusion_model.`, is recognised by its names and renamed.
    ///
    /// # Errors
    /// If there are no such files, they are damaged or contradict each other, or hold pickles.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let found = locate::locate(path)?;
        let mut weights = Self { path: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        for file in &found.files {
            weights.add(file)?;
        }
        if let Some(index) = found.index {
            index.verify(|tensor| Some(weights.path_of(weights.tensors.get(tensor)?)))?;
        }
        if bfl::is_bfl(weights.names()) { weights.with_diffusers_names() } else { Ok(weights) }
    }

    fn add(&mut self, path: &Path) -> Result<(), WeightsError> {
        let (file, tensors) = MappedFile::open(path)?;
        self.files.push(file);
        let file = self.files.len() - 1;
        for (name, info) in tensors {
            let (start, end) = info.data_offsets;
            let part = self.files[file].data_start + start..self.files[file].data_start + end;
            self.insert(name, Stored { dtype: info.dtype, shape: info.shape, file, parts: vec![part] })?;
        }
        Ok(())
    }

    fn insert(&mut self, name: String, stored: Stored) -> Result<(), WeightsError> {
        if let Some(other) = self.tensors.get(&name) {
            let (first, second) = (self.path_of(other).to_owned(), self.path_of(&stored).to_owned());
            return Err(WeightsError::Duplicate { tensor: name, first, second });
        }
        self.tensors.insert(name, stored);
        Ok(())
    }

    fn path_of(&self, stored: &Stored) -> &Path {
        &self.files[stored.file].path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, of whatever type; `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// The tensor `name`, in place.
    ///
    /// # Errors
    /// If there is none, or it is stored in another type than `f32`, `f16` and `bf16`.
    pub fn get(&self, name: &str) -> Result<WeightView<'_>, WeightError> {
        let stored = self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let dtype = supported(stored.dtype).ok_or_else(|| WeightError::Unreadable {
            name: name.to_owned(),
            why: format!(
                "{} stores it as {:?}; convert it to bf16, f16 or f32",
                self.path_of(stored).display(),
                stored.dtype
            ),
        })?;
        let bytes = self.files[stored.file].bytes();
        let parts = stored.parts.iter().map(|part| &bytes[part.clone()]).collect();
        Ok(WeightView { dtype, shape: &stored.shape, parts })
    }
}

impl WeightSource for Weights {
    fn weight(&self, name: &str, dtype: DType) -> Result<HostTensor, WeightError> {
        let tensor = self.get(name)?.to_tensor();
        Ok(if tensor.dtype == dtype { tensor } else { tensor.cast(dtype) })
    }
}

/// The element type of weights stored as `dtype`. Integers are none: they are codes of some
/// quantization scheme, meaningless without its scales.
fn supported(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
