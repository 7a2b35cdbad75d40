//! What can be wrong with weights.

use super::Mismatch;
use std::path::PathBuf;

/// Weights that cannot be used. Every message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file or folder could not be read.
    #[error("cannot read the weights {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    /// A folder without weights.
    #[error("{} holds no .safetensors file; give a folder or file that does", folder.display())]
    Empty { folder: PathBuf },

    /// A folder with several candidates.
    #[error("{} holds several sets of weights ({}); give the path of one", folder.display(), names.join(", "))]
    Ambiguous { folder: PathBuf, names: Vec<String> },

    /// Weights in a format that runs code when it is read.
    #[error(
        "{} is a pickle, which could run any code: Reflux never loads pickles, convert to safetensors",
        path.display()
    )]
    Pickle { path: PathBuf },

    /// A file shorter than it says.
    #[error(
        "{} has {have} bytes, but its header tells of {need}: it is incomplete, download it again",
        path.display()
    )]
    Truncated { path: PathBuf, have: u64, need: u64 },

    /// A file that is not safetensors, or not sound.
    #[error("{} is no sound safetensors file: {why}; download or convert it again", path.display())]
    Corrupt { path: PathBuf, why: String },

    /// An index that does not say which shard each tensor is in.
    #[error("{} is no index of safetensors shards: {why}; download it again", path.display())]
    Index { path: PathBuf, why: String },

    /// An index that points out of its folder.
    #[error(
        "{} names the shard `{shard}`, which is not inside its folder; shards must lie next to their index",
        index.display()
    )]
    Outside { index: PathBuf, shard: String },

    /// An index that names a file which is not there.
    #[error("{} names the shard `{shard}`, which does not exist; download it too", index.display())]
    MissingShard { index: PathBuf, shard: String },

    /// An index that places a tensor wrongly.
    #[error(
        "{} places `{tensor}` in the shard `{shard}`, which does not hold it; \
         index and shards are of different checkpoints, download them again",
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

    /// A fused tensor of a Black Forest Labs checkpoint that does not come apart.
    #[error(
        "{}: `{tensor}` of shape {shape:?} cannot be split into {}; the file is no FLUX.1 transformer",
        path.display(),
        into.join(", ")
    )]
    Fused { path: PathBuf, tensor: String, shape: Vec<usize>, into: &'static [&'static str] },

    /// Weights of another model.
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
}
