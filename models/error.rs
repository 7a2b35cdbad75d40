use crate::lora::LoraError;
use crate::weights::WeightsError;
use reflux_ir::{GraphError, words};
use std::path::PathBuf;

/// Why a model cannot be opened or lowered.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "there is no folder {}; give the folder of a model, or the id of one in the Hugging Face Hub's local cache, such as {example}",
        folder.display()
    )]
    NoFolder { folder: PathBuf, example: &'static str },
    #[error(
        "there is no folder {id}, and {} a model with that id; Reflux downloads nothing itself, download it with {}",
        match cache {
            Some(cache) => format!("the Hugging Face Hub's local cache, {}, does not contain", cache.display()),
            None => "no home folder is known, so there is no cache with".into(),
        },
        command(id)
    )]
    NotCached { id: String, cache: Option<PathBuf> },
    #[error(
        "{} in the Hugging Face Hub's local cache is incomplete: {why}; complete it with {}",
        folder.display(), command(id)
    )]
    Snapshot { folder: PathBuf, why: String, id: String },
    #[error(
        "{} is a file, but a model is a folder in diffusers layout; to use a file of weights, give such a folder and add {options} with \
         the file",
        path.display()
    )]
    File { path: PathBuf, options: String },
    #[error(
        "{} lacks {}: give what is missing with these options, or give the folder of the model with --model and this file with {denoiser}",
        path.display(), missing.join(", ")
    )]
    LacksNetworks { path: PathBuf, missing: Vec<String>, denoiser: String },
    #[error(
        "{} is not a model: it has no model_index.json (expected a folder in diffusers layout, with {folders}){}",
        folder.display(),
        match files.as_slice() {
            [] => String::new(),
            files => format!(
                "; to use the files in it ({}), give such a folder and add {options} with the file",
                files.join(", ")
            ),
        }
    )]
    NoModel { folder: PathBuf, files: Vec<String>, folders: String, options: String },
    #[error("{} is one part of a model; give the whole model, {}", folder.display(), model.display())]
    PartOfModel { folder: PathBuf, model: PathBuf },
    #[error(
        "{} lacks {}{}; {}",
        folder.display(), missing.join(", "),
        match left_out.as_slice() {
            [] => String::new(),
            parts => format!(" (its model_index.json has null for {})", parts.join(", ")),
        },
        match id {
            Some(id) => format!("download what is missing with {}", command(id)),
            None => "copy it from the model that this one is derived from, or download the model again".into(),
        }
    )]
    MissingParts { folder: PathBuf, missing: Vec<String>, left_out: Vec<String>, id: Option<String> },
    #[error("cannot read {}: {}", path.display(), words::of_io(.error))]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} is not valid: {why}", path.display())]
    Json { path: PathBuf, why: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Lora(Box<LoraError>),
    #[error("{}: {why}", path.display())]
    Setting { path: PathBuf, why: String },
    #[error("the parts of {} belong to different models: {why}; download the whole model again", folder.display())]
    Mixed { folder: PathBuf, why: String },
    #[error("the {part}'s configuration is not supported: {why}")]
    Unsupported { part: &'static str, why: String },
    #[error("the configuration is inconsistent: {0}")]
    Graph(#[from] GraphError),
}

/// The command that downloads a model.
fn command(id: &str) -> String {
    format!("`hf download {id}`")
}

impl From<LoraError> for ModelError {
    fn from(error: LoraError) -> Self {
        Self::Lora(Box::new(error))
    }
}
