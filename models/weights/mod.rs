//! Weights from safetensors files, read in place.
//!
//! Files are memory-mapped, so that opening a checkpoint reads no more than its headers. Tensors go by their diffusers names,
//! whatever the file calls them: how checkpoints are laid out is in `layout`, and which are recognised and refused in
//! `foreign`.

mod check;
mod error;
pub(crate) mod file;
mod folder;
mod foreign;
mod index;
pub(crate) mod layout;
pub(crate) mod locate;
mod mismatch;
mod names;
mod random;
pub(crate) mod stored;
mod unique;
mod widen;

pub use error::WeightsError;
pub use mismatch::Mismatch;
pub use random::RandomWeights;

use crate::architecture::Architecture;
use crate::net::Net;
use file::MappedFile;
use foreign::Metadata;
use layout::{LAYOUTS, Naming, Role, examples};
use rayon::prelude::*;
use reflux_ir::{DType, Fact, HostTensor, WeightData, WeightError, WeightSource};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stored::Stored;

/// Bytes that one thread copies.
const SHARE: usize = 1 << 20;

/// The tensors of one network, in one or more mapped files.
#[derive(Debug)]
pub struct Weights {
    /// Where they were opened, for messages.
    path: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Stored>,
    /// How the files call them, if that is one of the ways which are known.
    naming: Option<Naming>,
    /// The files' tensors that are not the network's, by the files' names.
    aside: BTreeMap<String, Role>,
}

/// A tensor in a mapped file.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightView<'a> {
    /// The type of its elements: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// Its dimensions, slowest first.
    pub shape: &'a [usize],
    /// Its elements as stored: little-endian, row-major, in consecutive pieces of whole rows.
    pub parts: Vec<&'a [u8]>,
    /// What the bytes stand for, where they are floats of eight bits, which are read as `bf16`.
    codes: Option<&'static widen::Codes>,
}

impl WeightView<'_> {
    /// A copy of the tensor in its type.
    pub fn to_tensor(&self) -> HostTensor {
        let bytes_per_byte = if self.codes.is_some() { 2 } else { 1 };
        let bytes: usize = self.parts.iter().map(|part| part.len() * bytes_per_byte).sum();
        let mut copy = vec![0; bytes];
        let mut rest = &mut copy[..];
        for part in &self.parts {
            let (to, after) = rest.split_at_mut(part.len() * bytes_per_byte);
            rest = after;
            // Reading from the file, and memory that is new, is what takes the time.
            match self.codes {
                Some(codes) => widen::widen(codes, part, to, SHARE),
                None => to
                    .par_chunks_mut(SHARE)
                    .zip(part.par_chunks(SHARE))
                    .for_each(|(to, from)| to.copy_from_slice(from)),
            }
        }
        HostTensor::new(self.dtype, self.shape.to_vec(), copy)
    }
}

/// The tensors of a checkpoint's files, by the names that these have.
struct Checkpoint {
    path: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Stored>,
    metadata: Metadata,
}

impl Weights {
    /// Opens the weights at `path`: a safetensors file, a `*.safetensors.index.json` of a sharded checkpoint, or a folder with
    /// either. Where a network is recognised by its names, these become diffusers'; others stay.
    ///
    /// # Errors
    /// If there are no such files, they are damaged or contradict each other, hold pickles, or codes with factors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open(path.as_ref())?;
        let naming = LAYOUTS.iter().find_map(|layout| checkpoint.naming(layout.architecture));
        let prefix = naming.as_ref().map_or("", |naming| naming.prefix);
        foreign::scheme(&checkpoint.path, prefix, &checkpoint.tensors, &checkpoint.metadata)?;
        checkpoint.named(naming, true)
    }

    /// Opens the weights of `net` at `path`, as [`Weights::open`]; of a file that holds other networks too, only those of `net`.
    ///
    /// # Errors
    /// As [`Weights::open`], and if the files are one shard of several, recognised as something else, or not recognised at all.
    pub fn open_for(net: &'static Net, path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let name = names::file_name(path.as_ref());
        if let Some(of) = folder::is_shard_of(name).filter(|_| path.as_ref().is_file()) {
            return Err(WeightsError::OneShard { path: path.as_ref().to_owned(), of });
        }
        let checkpoint = Checkpoint::open(path.as_ref())?;
        let path = &checkpoint.path;
        foreign::refuse(path, &checkpoint.tensors)?;
        let Some(naming) = checkpoint.naming(net.architecture) else {
            let siblings = net.family.iter().map(|net| net.architecture);
            let mut all = siblings.chain(LAYOUTS.iter().map(|layout| layout.architecture));
            if let Some(other) = all.find(|other| checkpoint.naming(other).is_some()) {
                return Err(WeightsError::OtherNetwork { path: path.clone(), other, net });
            }
            foreign::refuse_unknown(path, &checkpoint.tensors)?;
            return Err(checkpoint.unknown(net.architecture));
        };
        foreign::scheme(path, naming.prefix, &checkpoint.tensors, &checkpoint.metadata)?;
        checkpoint.named(Some(naming), false)
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

    /// Where they were opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, of whatever type; `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// The names of matrices that are zeros where they begin, in the middle and where they end: a download that was cut off can
    /// leave files of the right size like that.
    pub fn blank(&self) -> Vec<&str> {
        const LOOKED_AT: usize = 256;
        let is_blank = |stored: &&Stored| {
            let bytes = self.files[stored.file].bytes();
            stored.parts.iter().all(|part| {
                let part = &bytes[part.clone()];
                let size = part.len().min(LOOKED_AT);
                let starts = [0, (part.len() - size) / 2, part.len() - size];
                starts.iter().all(|&start| part[start..start + size].iter().all(|&byte| byte == 0))
            })
        };
        let matrices = self.tensors.iter().filter(|(_, stored)| stored.shape.len() > 1);
        matrices.filter(|(_, stored)| is_blank(stored)).map(|(name, _)| name.as_str()).collect()
    }

    /// The tensor `name`, in place.
    ///
    /// # Errors
    /// If there is none, or it is stored in a type that is no float of at most 32 bits.
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
        Ok(WeightView { dtype, shape: &stored.shape, parts, codes: widen::codes(stored.dtype) })
    }

    /// A copy of the tensor `name` in the type that it is read in.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn tensor(&self, name: &str) -> Result<HostTensor, WeightError> {
        Ok(self.get(name)?.to_tensor())
    }
}

impl Checkpoint {
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let found = locate::locate(path)?;
        // Duplicates are looked for as among tensors of a network.
        let mut raw = Weights {
            path: path.to_owned(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            naming: None,
            aside: BTreeMap::new(),
        };
        let mut metadata = Metadata::new();
        for file in &found.files {
            let opened = MappedFile::open(file)?;
            let (index, start) = (raw.files.len(), opened.file.data_start);
            raw.files.push(opened.file);
            metadata.extend(opened.metadata);
            for (name, info) in opened.tensors {
                let part = start + info.data_offsets.0..start + info.data_offsets.1;
                let (shape, whole) = (info.shape.clone(), info.shape);
                raw.insert(name, Stored { dtype: info.dtype, shape, file: index, parts: vec![part], whole })?;
            }
        }
        if let Some(index) = found.index {
            index.verify(|tensor| Some(raw.path_of(raw.tensors.get(tensor)?)))?;
        }
        let Weights { path, files, tensors, .. } = raw;
        Ok(Self { path, files, tensors, metadata })
    }

    fn naming(&self, architecture: &'static Architecture) -> Option<Naming> {
        Naming::of(architecture, self.tensors.keys().map(String::as_str))
    }

    /// The network's tensors under diffusers' names, if `naming` says how; and the others' as they are, if they are to be kept.
    fn named(self, naming: Option<Naming>, keep_others: bool) -> Result<Weights, WeightsError> {
        let Self { path, files, tensors, .. } = self;
        let mut weights =
            Weights { path, files, tensors: BTreeMap::new(), naming: None, aside: BTreeMap::new() };
        for (name, stored) in &tensors {
            let role = naming.as_ref().map_or(Role::Stray, |naming| naming.role(name));
            if let (Some(naming), Role::Own) = (&naming, role) {
                let path = weights.path_of(stored).to_owned();
                for (name, part) in naming.renamed(name, &tensors, &path)? {
                    weights.insert(name, part)?;
                }
                continue;
            }
            if keep_others {
                weights.insert(name.clone(), stored.clone())?;
            }
            weights.aside.insert(name.clone(), role);
        }
        weights.naming = naming;
        Ok(weights)
    }

    /// That nothing is recognised, with the first names that there are.
    fn unknown(&self, architecture: &'static Architecture) -> WeightsError {
        const SHOWN: usize = 3;
        let names: Vec<String> = self.tensors.keys().take(SHOWN).map(|name| format!("`{name}`")).collect();
        let holds = match self.tensors.len() {
            0 => "no tensors".to_owned(),
            count if count <= SHOWN => names.join(", "),
            count => format!("{}, … and {} more tensors", names.join(", "), count - SHOWN),
        };
        WeightsError::Unknown {
            path: self.path.clone(),
            architecture,
            holds,
            examples: examples(architecture),
        }
    }
}

impl WeightSource for Weights {
    fn weight(&self, name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        Ok(self.tensor(name)?.into())
    }
}

/// The element type that weights stored as `dtype` are read in. Integers have none: they are codes of some quantization
/// scheme, meaningless without its scales.
fn supported(dtype: Dtype) -> Option<DType> {
    if widen::codes(dtype).is_some() {
        return Some(DType::BF16);
    }
    DType::from_file_name(&dtype.to_string()).filter(|dtype| dtype.is_float())
}
