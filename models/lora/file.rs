//! A file of adapters: its tensors by the modules that they change.

use super::error::LoraError;
use super::metadata::Metadata;
use super::parameter::{Parameter, other_kind};
use crate::weights::encoding::TensorEncoding;
use crate::weights::file::{MappedFile, Opened};
use crate::weights::header::Tensor as Stored;
use crate::weights::locate::locate;
use reflux_ir::DType;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The tensors with which a file changes one module.
pub(super) type ModuleTensors = BTreeMap<Parameter, Tensor>;

/// A file of adapters, of which only the header has been read.
#[derive(Debug)]
pub struct LoraFile {
    path: PathBuf,
    mapped: MappedFile,
    /// By the file's names of modules.
    pub(super) modules: BTreeMap<String, ModuleTensors>,
    /// The names of tensors that are of no kind of adapter that is known.
    pub(super) strays: Vec<String>,
    pub(super) metadata: Metadata,
}

/// Where a tensor of the file lies.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub key: String,
    pub shape: Vec<usize>,
    encoding: TensorEncoding,
    bytes: Range<usize>,
}

impl LoraFile {
    /// Opens the safetensors file at `path`, or the only one in that folder, and reads its header.
    ///
    /// # Errors
    /// If it cannot be read, is no safetensors file, or has no tensor of an adapter.
    pub fn open(path: &Path) -> Result<Self, LoraError> {
        let found = locate(path)?;
        let [only] = &found.files[..] else {
            return Err(LoraError::Shards { path: path.to_owned() });
        };
        let Opened { file: mapped, header } = MappedFile::open(only)?;
        let metadata = Metadata::read(only, header.metadata)?;
        let mut file =
            Self { path: only.clone(), mapped, modules: BTreeMap::new(), strays: Vec::new(), metadata };
        for tensor in header.tensors {
            let Stored { name: key, encoding, shape, bytes } = tensor;
            file.insert(Tensor { key, shape, encoding, bytes })?;
        }
        file.strays.sort();
        if file.modules.is_empty() {
            let other = file.strays.iter().find_map(|key| Some((key.clone(), other_kind(key)?)));
            return Err(match other {
                Some((key, kind)) => LoraError::Kind { path: file.path, key, kind },
                None => LoraError::NoAdapter { path: file.path, keys: file.strays },
            });
        }
        Ok(file)
    }

    fn insert(&mut self, tensor: Tensor) -> Result<(), LoraError> {
        let Some((module, parameter)) = Parameter::of(&tensor.key) else {
            self.strays.push(tensor.key);
            return Ok(());
        };
        let tensors = self.modules.entry(module).or_default();
        if let Some(first) = tensors.get(&parameter) {
            let (first, second) = (first.key.clone(), tensor.key);
            return Err(LoraError::Twice { path: self.path.clone(), first, second });
        }
        tensors.insert(parameter, tensor);
        Ok(())
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The only element of `tensor`.
    ///
    /// # Errors
    /// As [`LoraFile::values`], and if it has others.
    pub(super) fn scalar(&self, tensor: &Tensor) -> Result<f32, LoraError> {
        match self.values(tensor)?[..] {
            [only] => Ok(only),
            _ => {
                let (path, key, found) = (self.path.clone(), tensor.key.clone(), tensor.shape.clone());
                Err(LoraError::NoScalar { path, key, found })
            }
        }
    }

    /// The elements of `tensor`, to be read in parts.
    ///
    /// # Errors
    /// If they are no floats.
    pub(super) fn elements(&self, tensor: &Tensor) -> Result<Elements<'_>, LoraError> {
        Ok(match tensor.encoding.float() {
            Some(dtype) => Elements::Stored(dtype, &self.mapped.bytes()[tensor.bytes.clone()]),
            None => Elements::Numbers(self.values(tensor)?),
        })
    }

    /// The elements of `tensor` in f32.
    ///
    /// # Errors
    /// If they are no floats, or not finite.
    pub(super) fn values(&self, tensor: &Tensor) -> Result<Vec<f32>, LoraError> {
        let bytes = &self.mapped.bytes()[tensor.bytes.clone()];
        let values: Option<Vec<f32>> = match &tensor.encoding {
            TensorEncoding::Elements(Dtype::F64) => {
                Some(bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect())
            }
            TensorEncoding::Elements(Dtype::F8_E4M3) => Some(DType::F8E4M3.decode(bytes)),
            TensorEncoding::Blocks(format) => Some(DType::Block(*format).decode(bytes)),
            encoding @ (TensorEncoding::Elements(_)
            | TensorEncoding::Scaled { .. }
            | TensorEncoding::Looked(_)) => encoding.float().map(|dtype| dtype.decode(bytes)),
        };
        let values = values.ok_or_else(|| {
            let (path, key) = (self.path.clone(), tensor.key.clone());
            LoraError::Type { path, key, dtype: tensor.encoding.to_string() }
        })?;
        self.all_finite(tensor, &values)?;
        Ok(values)
    }

    /// Reads all of `tensor`, so that damage shows before anything runs.
    ///
    /// # Errors
    /// As [`LoraFile::values`].
    pub(super) fn check(&self, tensor: &Tensor) -> Result<(), LoraError> {
        let elements = self.elements(tensor)?;
        // In parts that stay in a thread's cache: files have hundreds of megabytes.
        let mut values = [0.0; 1 << 12];
        let count = tensor.shape.iter().product();
        for first in (0..count).step_by(values.len()) {
            let values = &mut values[..(count - first).min(1 << 12)];
            elements.read(first, values);
            self.all_finite(tensor, values)?;
        }
        Ok(())
    }

    fn all_finite(&self, tensor: &Tensor, values: &[f32]) -> Result<(), LoraError> {
        // By bits, so that the loop becomes vector code: of numbers that are not finite all bits of the exponent are set.
        let most = values.iter().map(|value| value.abs().to_bits()).fold(0, u32::max);
        if most < f32::INFINITY.to_bits() {
            return Ok(());
        }
        let Some(&value) = values.iter().find(|value| !value.is_finite()) else { return Ok(()) };
        Err(LoraError::NotFinite { path: self.path.clone(), key: tensor.key.clone(), value })
    }
}

/// The elements of a tensor.
pub(super) enum Elements<'f> {
    /// In the file.
    Stored(DType, &'f [u8]),
    /// In a form of which parts cannot be read by themselves, and so decoded as a whole.
    Numbers(Vec<f32>),
}

impl Elements<'_> {
    /// Reads those from `first` on, as many as there is room for.
    pub fn read(&self, first: usize, to: &mut [f32]) {
        match self {
            Self::Stored(dtype, bytes) => {
                let end = first + to.len();
                dtype.decode_into(&bytes[first * dtype.bytes()..end * dtype.bytes()], to);
            }
            Self::Numbers(numbers) => to.copy_from_slice(&numbers[first..][..to.len()]),
        }
    }
}
