//! Weights from safetensors and GGUF files, read in place.
//!
//! Files are memory-mapped, so that opening a checkpoint reads no more than its headers. Tensors go by their diffusers names,
//! whatever the file calls them: how checkpoints are laid out is in `layout`, how their bytes are numbers in `encoding`, which
//! scales belong to which codes in `factors`, and which checkpoints are recognised and refused in `foreign`.

mod as_stored;
mod check;
pub(crate) mod encoding;
mod error;
mod factors;
pub(crate) mod file;
mod folder;
mod foreign;
mod gguf;
pub(crate) mod header;
mod index;
pub(crate) mod layout;
pub(crate) mod locate;
mod mismatch;
mod names;
mod random;
mod safetensors_file;
mod saved;
pub(crate) mod stored;
mod unique;
mod view;
mod widen;

pub use as_stored::read_as_stored;
pub use error::WeightsError;
pub use file::is_weights;
pub use mismatch::WeightsMismatch;
pub use random::{Distribution, RandomWeights};
pub use saved::{NotSaved, SavedWeights, Shard, shards};
pub use view::WeightView;

use crate::architecture::Architecture;
use crate::net::Net;
use encoding::TensorEncoding;
use factors::Joining;
use file::{MappedFile, Opened};
use header::{Metadata, Tensor};
use layout::{LAYOUTS, Membership, Naming, examples};
use rayon::prelude::*;
use reflux_ir::{BlockFormat, Fact, HostTensor, WeightData, WeightError, WeightRows, WeightSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stored::Stored;

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
    aside: BTreeMap<String, Membership>,
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
        let is_blank = |stored: &Stored| self.looked_at(stored).flatten().all(|&byte| byte == 0);
        let matrices = self.tensors.iter().filter(|(_, stored)| stored.shape.len() > 1);
        matrices.filter(|(_, stored)| is_blank(stored)).map(|(name, _)| name.as_str()).collect()
    }

    /// Of every tensor the name, and some of its bytes as they are stored: by them two checkpoints of the same shapes can be told
    /// apart without reading either.
    pub fn samples(&self) -> impl Iterator<Item = (&str, Vec<&[u8]>)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), self.looked_at(stored).collect()))
    }

    /// The bytes of a tensor where each of its parts begins, in the middle and where it ends.
    fn looked_at<'s>(&'s self, stored: &'s Stored) -> impl Iterator<Item = &'s [u8]> {
        const LOOKED_AT: usize = 256;
        let bytes = self.files[stored.file].bytes();
        stored.parts.iter().flat_map(move |part| {
            let part = &bytes[part.clone()];
            let size = part.len().min(LOOKED_AT);
            [0, (part.len() - size) / 2, part.len() - size].map(|start| &part[start..start + size])
        })
    }

    /// The tensor `name`, in place.
    ///
    /// # Errors
    /// If there is none, or it is stored in a way that is not read.
    pub fn get(&self, name: &str) -> Result<WeightView<'_>, WeightError> {
        let stored = self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let unreadable = |why| WeightError::Unreadable { name: name.to_owned(), why };
        let dtype = stored.encoding.read_as().ok_or_else(|| {
            let path = self.path_of(stored).display();
            unreadable(format!("{path} stores it as {}; convert it to bf16, f16 or f32", stored.encoding))
        })?;
        let bytes = self.files[stored.file].bytes();
        let parts: Vec<_> = stored.parts.iter().map(|part| &bytes[part.clone()]).collect();
        if let TensorEncoding::Blocks(format) = stored.encoding
            && let Some(block) = parts.iter().find_map(|part| unsound(format, part))
        {
            let path = self.path_of(stored).display();
            let why = format!(
                "in {path} its block {block} has a scale that is not a number: download the file again"
            );
            return Err(unreadable(why));
        }
        Ok(WeightView::new(dtype, stored, parts))
    }

    /// The type of codes in which a program can read the matrix `name` as the files store it, if they store it as codes.
    pub fn coded(&self, name: &str) -> Option<Fact> {
        let stored = self.tensors.get(name).filter(|stored| stored.shape.len() == 2)?;
        stored.encoding.coded(&stored.shape)
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
            let Opened { file, header } = MappedFile::open(file)?;
            let index = raw.files.len();
            raw.files.push(file);
            metadata.extend(header.metadata);
            for Tensor { name, encoding, shape, bytes } in header.tensors {
                let (parts, whole) = (vec![bytes], shape.clone());
                raw.insert(name, Stored { encoding, shape, file: index, parts, whole })?;
            }
        }
        if let Some(index) = found.index {
            index.verify(|tensor| Some(raw.path_of(raw.tensors.get(tensor)?)))?;
        }
        let Weights { path, files, mut tensors, .. } = raw;
        let bytes = |stored: &Stored| {
            let file = files[stored.file].bytes();
            stored.parts.iter().flat_map(|part| &file[part.clone()]).copied().collect()
        };
        factors::join(Joining { path: &path, tensors: &mut tensors, metadata: &metadata, bytes: &bytes })?;
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
            let role = naming.as_ref().map_or(Membership::Stray, |naming| naming.role(name));
            if let (Some(naming), Membership::Own) = (&naming, role) {
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

/// [`BlockFormat::unsound`], by all processors.
fn unsound(format: BlockFormat, blocks: &[u8]) -> Option<usize> {
    const SHARE: usize = 1 << 14;
    let shares = blocks.par_chunks(SHARE * format.bytes()).enumerate();
    shares.find_map_first(|(index, blocks)| Some(index * SHARE + format.unsound(blocks)?))
}

impl WeightSource for Weights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        Ok((&self.get(name)?.rows_as(fact)).into())
    }

    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        Ok(Some(self.get(name)?.rows_as(fact)))
    }
}
