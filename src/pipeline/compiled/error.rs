//! Why a compiled model cannot be used or made.

use crate::VERSION;
use reflux_ir::{DType, Fact};
use reflux_runtime::Device;
use std::path::PathBuf;

/// What to do about files that are not what they were.
const AGAIN: &str = "copy the compiled model again, or compile it again";

/// Why a compiled model cannot be used or made. Every message says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    /// Written by a version with another format.
    #[error(
        "{} is of format {format}, which Reflux {reflux} wrote, and this is Reflux {VERSION}, which reads format {known}; use that \
         version, or compile the model again",
        path.display()
    )]
    Format { path: PathBuf, format: u64, reflux: String, known: u64 },

    /// A file that is not there.
    #[error("{} is missing, a part of a compiled model; {AGAIN}", path.display())]
    Missing { path: PathBuf },

    /// A file of another length than was written.
    #[error("{} has {have} bytes, and was written with {need}; {AGAIN}", path.display())]
    Length { path: PathBuf, have: u64, need: u64 },

    /// A file with other contents than were written.
    #[error("{} has changed since it was written: it is damaged, or was edited; {AGAIN}", path.display())]
    Changed { path: PathBuf },

    /// A program with other contents than were written.
    #[error(
        "{} has changed since it was written: it is damaged, or was edited; {AGAIN}, or give an edited program with --program",
        path.display()
    )]
    ChangedProgram { path: PathBuf },

    /// A manifest that says nothing.
    #[error("{} is no manifest of a compiled model: {why}; {AGAIN}", path.display())]
    Manifest { path: PathBuf, why: String },

    /// A device for which it is not compiled.
    #[error(
        "{} is compiled for the device {own}, and is to run on {asked}; add --device {own}, or compile the model it was made from \
         with --device {asked}",
        folder.display()
    )]
    Device { folder: PathBuf, own: String, asked: Device },

    /// A dtype in which it is not compiled.
    #[error(
        "{} is compiled to compute in {own}, not in {asked}; leave out --dtype, or compile the model it was made from with --dtype \
         {asked}",
        folder.display()
    )]
    DType { folder: PathBuf, own: DType, asked: DType },

    /// Passes for what has had its passes.
    #[error(
        "{} is compiled with the passes {own}; leave out passes and LoRAs here, or compile the model it was made from with others",
        folder.display()
    )]
    Passes { folder: PathBuf, own: String },

    /// Passes, or programs before them, where there are only programs after them.
    #[error(
        "{} is compiled: its transformer's programs have had their passes, and are text, {}; give one of these, or the model that \
         it was made from",
        folder.display(), programs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoPasses { folder: PathBuf, programs: Vec<PathBuf> },

    /// Something else that has no meaning for a compiled model.
    #[error("{}: this model is compiled, so that {why}", folder.display())]
    Unneeded { folder: PathBuf, why: &'static str },

    /// Something that takes the passes of the model it was made from.
    #[error(
        "{} is compiled, and {what} takes the model that it was compiled from, {model}: give that with --model",
        folder.display()
    )]
    NeedsOriginal { folder: PathBuf, model: String, what: &'static str },

    /// A model that is not compiled where one should be.
    #[error("{} is not compiled; name a new folder for it with -o, or give a compiled model", folder.display())]
    NotCompiled { folder: PathBuf },

    /// Something that is in the way of a new folder.
    #[error("{} exists, and is no compiled model to which sizes could be added; name another folder", path.display())]
    Exists { path: PathBuf },

    /// A compiled model to which other programs than its own were to be added.
    #[error("{} is compiled {own}, and this would be {asked}; name another folder", path.display())]
    Other { path: PathBuf, own: String, asked: String },

    /// A model in one file.
    #[error(
        "{} is a model in one file, and a compiled model is a folder with its own configurations and tokenizers: give a model's \
         folder with --model, and this file with {option}",
        path.display()
    )]
    OneFile { path: PathBuf, option: String },

    /// Weights that the configuration is not of.
    #[error(
        "the configuration in {} is not that of the weights that are given, so a copy of it would not describe them: give the \
         folder of the model they belong to",
        folder.display()
    )]
    Configuration { folder: PathBuf },

    /// A weight that is read in two ways.
    #[error(
        "the program reads the weight `{name}` both as {first} and as {second}, and a compiled model holds it once; leave out the \
         pass that makes the difference"
    )]
    TwoTypes { name: String, first: Fact, second: Fact },

    /// A weight in a type that files do not have.
    #[error("the program reads the weight `{name}` as {fact}, which no file can hold")]
    NoFile { name: String, fact: Fact },

    /// LoRAs that stay changeable.
    #[error(
        "LoRAs beside products (mode=branch) are not saved, since their strengths are given with each picture; merge them, with \
         --lora-mode merge"
    )]
    Branches,

    /// LoRAs in networks that are copied.
    #[error(
        "these LoRAs change the network {network} too, which is copied as it is; compile with one that changes only the {denoiser}, \
         or merge them into {network} beforehand"
    )]
    OtherNetworks { network: &'static str, denoiser: &'static str },
}
