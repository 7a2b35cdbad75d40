use reflux_ir::GraphError;
use std::path::PathBuf;

/// Why a model cannot be opened or lowered.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "{} is no FLUX model: it has no model_index.json (expected a folder in diffusers layout, with transformer/, \
         text_encoder/, text_encoder_2/, vae/, tokenizer/, tokenizer_2/ and scheduler/)",
        folder.display()
    )]
    NoModel { folder: PathBuf },
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{} is not what it should be: {error}", path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("not supported: {0}")]
    Unsupported(String),
    #[error("the configuration does not fit together: {0}")]
    Graph(#[from] GraphError),
}
