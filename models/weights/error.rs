//! Errors in weights.

use super::mismatch::WeightsMismatch;
use super::saved::NotSaved;
use crate::architecture::Architecture;
use crate::first_bytes::Foreign;
use crate::net::Net;
use reflux_ir::words;
use std::path::PathBuf;

/// Weights that cannot be used. Every message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file or folder could not be read.
    #[error("cannot read the weights {}: {}", path.display(), words::of_io(.source))]
    Unreadable { path: PathBuf, source: std::io::Error },

    /// A folder without weights.
    #[error("{} contains no weights (.safetensors, .sft or .gguf); give a folder or file that does", folder.display())]
    Empty { folder: PathBuf },

    /// A folder with only an unfinished file.
    #[error(
        "{} contains only `{name}`, an unfinished download; finish it, or download it again",
        folder.display()
    )]
    Unfinished { folder: PathBuf, name: String },

    /// A folder with several candidates.
    #[error("{} contains several sets of weights ({}); give the path of one", folder.display(), names.join(", "))]
    Ambiguous { folder: PathBuf, names: Vec<String> },

    /// Weights in a format that runs code when it is read.
    #[error(
        "{} is a pickle, which can run any code when it is loaded; Reflux never loads pickles, convert it to safetensors",
        path.display()
    )]
    Pickle { path: PathBuf },

    /// A file in another format, or of a network that Reflux does not know.
    #[error("{} is {foreign}", path.display())]
    Foreign { path: PathBuf, foreign: Box<Foreign> },

    /// The weights of one network where those of another should be.
    #[error("{} contains {}", path.display(), net.instead(other))]
    OtherNetwork { path: PathBuf, other: &'static Architecture, net: &'static Net },

    /// Only unknown names.
    #[error(
        "{} is not {}, nor any other network that Reflux knows: it contains {holds}; expected names such as {examples}",
        path.display(), architecture.title
    )]
    Unknown { path: PathBuf, architecture: &'static Architecture, holds: String, examples: String },

    /// A part of the weights.
    #[error(
        "{} is one of {of} shards; give its folder or the index beside it, to use all of them",
        path.display()
    )]
    OneShard { path: PathBuf, of: usize },

    /// A file shorter than it says.
    #[error(
        "{} {}: it is incomplete, download it again",
        path.display(),
        match have {
            0 => "is empty (0 bytes)".to_owned(),
            _ => format!("has {have} bytes, but needs {need} according to its header"),
        }
    )]
    Truncated { path: PathBuf, have: u64, need: u64 },

    /// A file that is not what its first bytes promise.
    #[error("{} is not a valid {container} file: {why}; download or convert it again", path.display())]
    Corrupt { path: PathBuf, container: &'static str, why: String },

    /// An index that does not say which shard each tensor is in.
    #[error("{} is not an index of safetensors shards: {why}", path.display())]
    Index { path: PathBuf, why: String },

    /// An index that points out of its folder.
    #[error(
        "{} names the shard `{shard}`, which is outside its folder; shards must be next to their index",
        index.display()
    )]
    Outside { index: PathBuf, shard: String },

    /// An index that names a missing file.
    #[error("{} names the shard `{shard}`, which does not exist; download it too", index.display())]
    MissingShard { index: PathBuf, shard: String },

    /// Shards without an index, of which some are missing.
    #[error("{} contains only {have} of the {of} shards of `{name}`; download the others, and the index", folder.display())]
    MissingShards { folder: PathBuf, name: String, have: usize, of: usize },

    /// An index that places a tensor wrongly.
    #[error(
        "{} places `{tensor}` in the shard `{shard}`, which does not contain it; \
         index and shards belong to different checkpoints, download them again",
        index.display()
    )]
    NotInShard { index: PathBuf, shard: String, tensor: String },

    /// Two tensors of one name.
    #[error(
        "`{tensor}` occurs twice, in {} and in {}; remove one",
        first.display(),
        second.display()
    )]
    Duplicate { tensor: String, first: PathBuf, second: PathBuf },

    /// A fused tensor that cannot be split.
    #[error(
        "{}: `{tensor}` of shape {shape:?} cannot be split into {}; the file is damaged, or is not {}",
        path.display(),
        into.join(", "),
        architecture.title
    )]
    Fused {
        path: PathBuf,
        tensor: String,
        shape: Vec<usize>,
        into: Vec<String>,
        architecture: &'static Architecture,
    },

    /// A tensor to be split like its module's matrix, which is missing.
    #[error("{} contains `{tensor}` but not `{matrix}`: it is incomplete, download it again", path.display())]
    WithoutMatrix { path: PathBuf, tensor: String, matrix: String },

    /// Weights that do not determine the configuration of their network.
    #[error(
        "{}: the network's configuration cannot be derived from its weights: {why}; add the config.json of its model beside it, in \
         the folder {folder}/",
        path.display()
    )]
    NoConfig { path: PathBuf, folder: String, why: String },

    /// A weight of a compiled model in another type than a program reads.
    #[error(transparent)]
    NotSaved(Box<NotSaved>),

    /// Weights of another model.
    #[error(transparent)]
    Mismatch(#[from] Box<WeightsMismatch>),
}

impl WeightsError {
    /// Whether there are just no weights, as where somebody has a configuration alone.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Empty { .. } => true,
            Self::Unreadable { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
