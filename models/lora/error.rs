//! Errors in files of adapters.

use crate::weights::WeightsError;
use std::path::PathBuf;

/// A LoRA that cannot be used. Every message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A file that could not be read, or is no safetensors file.
    #[error(transparent)]
    File(#[from] WeightsError),

    /// Several files.
    #[error("{} holds several shards, but a LoRA is one safetensors file; give that", path.display())]
    Shards { path: PathBuf },

    /// A file of something else.
    #[error(
        "{} is no LoRA: it holds {}; give weights of a network with the option for it, as --transformer",
        path.display(), some(keys)
    )]
    NoAdapter { path: PathBuf, keys: Vec<String> },

    /// An adapter of a kind that is not read.
    #[error(
        "{}: `{key}` is of {kind}, which is not supported; give a LoRA, LoKr, LoHa or DoRA, or merge it into the weights with the \
         tool that made it",
        path.display()
    )]
    Kind { path: PathBuf, key: String, kind: &'static str },

    /// A LoRA of another model.
    #[error("{} is a LoRA for {what} (it has `{key}`), which does not fit {model}; give one that was trained for it", path.display())]
    OtherModel { path: PathBuf, what: &'static str, key: String, model: &'static str },

    /// Nothing fits.
    #[error(
        "{}: {model} has none of the modules that this LoRA changes: it has {}; give one that was trained for it",
        path.display(), some(keys)
    )]
    NothingFits { path: PathBuf, keys: Vec<String>, model: &'static str },

    /// Tensors that would be left out.
    #[error(
        "{}: {} cannot be used: {}; to leave them out, add --lora-partial",
        path.display(), tensors(unused.len()), listed(unused)
    )]
    Unused { path: PathBuf, unused: Vec<Unused> },

    /// Two tensors for one purpose.
    #[error("{}: `{first}` and `{second}` are both there; keep one of two adapters in a file", path.display())]
    Twice { path: PathBuf, first: String, second: String },

    /// Two names of one module.
    #[error(
        "{}: `{first}` and `{second}` are names of one module; keep one of two adapters in a file, or give each its own",
        path.display()
    )]
    SameModule { path: PathBuf, first: String, second: String },

    /// One half of a pair.
    #[error("{}: `{key}` is there without {missing}: the file is incomplete, download it again", path.display())]
    Incomplete { path: PathBuf, key: String, missing: &'static str },

    /// A tensor that does not fit its module.
    #[error(
        "{}: `{key}` is {found:?}, but {expected}, since `{module}` of this model is {shape:?}; the LoRA was trained for a model \
         of another size",
        path.display()
    )]
    Shape {
        path: PathBuf,
        key: Box<str>,
        found: Box<[usize]>,
        expected: Box<str>,
        module: Box<str>,
        shape: Box<[usize]>,
    },

    /// Several numbers in the place of one.
    #[error("{}: `{key}` is {found:?} and must be one number; download the file again", path.display())]
    NoScalar { path: PathBuf, key: String, found: Vec<usize> },

    /// Two tensors that do not fit each other.
    #[error(
        "{}: `{first}` is {first_shape:?} and `{second}` is {second_shape:?}, which have no rank in common; download or train it \
         again",
        path.display()
    )]
    Ranks { path: PathBuf, first: String, first_shape: Vec<usize>, second: String, second_shape: Vec<usize> },

    /// A change of what the module does not have.
    #[error("{}: `{key}` changes the {what} of `{module}`, which has none in this model", path.display())]
    Without { path: PathBuf, key: String, what: &'static str, module: String },

    /// Numbers that nothing can be drawn with.
    #[error("{}: `{key}` holds {value}: the file is damaged, or its training failed; use another", path.display())]
    NotFinite { path: PathBuf, key: String, value: f32 },

    /// A type that is not read.
    #[error("{}: `{key}` is stored as {dtype}; convert it to bf16, f16 or f32", path.display())]
    Type { path: PathBuf, key: String, dtype: String },

    /// An unreadable text of the header.
    #[error("{}: `{key}` in its header cannot be read: {why}", path.display())]
    Metadata { path: PathBuf, key: &'static str, why: String },
}

/// A tensor that is not used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unused {
    pub key: String,
    pub why: String,
}

/// The first of `keys`.
fn some(keys: &[String]) -> String {
    const SHOWN: usize = 3;
    let first: Vec<_> = keys.iter().take(SHOWN).map(|key| format!("`{key}`")).collect();
    match keys.len() {
        0 => "no tensors".to_owned(),
        count if count <= SHOWN => first.join(", "),
        count => format!("{}, … and {} more", first.join(", "), count - SHOWN),
    }
}

/// `a tensor is`, `3 tensors are`.
pub(super) fn are(count: usize) -> String {
    format!("{} {}", tensors(count), if count == 1 { "is" } else { "are" })
}

fn tensors(count: usize) -> String {
    if count == 1 { "a tensor".to_owned() } else { format!("{count} tensors") }
}

/// Each tensor, and why it is not used; of many the first.
pub(super) fn listed(unused: &[Unused]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<_> =
        unused.iter().take(SHOWN).map(|Unused { key, why }| format!("`{key}` ({why})")).collect();
    if unused.len() > SHOWN {
        lines.push(format!("… and {} more", unused.len() - SHOWN));
    }
    lines.join(", ")
}
