//! Which modules not to quantize, by what they are called.

use reflux_ir::ModulePath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Modules to leave unquantized, by segments of their paths (Pruna 0.3, `algorithms/torchao.py`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// No module.
    #[default]
    #[serde(rename = "none")]
    Nothing,
    /// Normalisations, with their modulations.
    #[serde(rename = "norm")]
    Norm,
    /// Embedders of images, text, times and positions.
    #[serde(rename = "embedding")]
    Embedding,
    /// Both.
    #[serde(rename = "norm+embedding")]
    NormAndEmbedding,
}

/// Segments of the paths of normalisations, modulations among them.
const NORM: [&str; 14] = [
    "adaln_single",
    "caption_norm",
    "norm",
    "norm1",
    "norm1_context",
    "norm2",
    "norm2_context",
    "norm3",
    "norm_k",
    "norm_q",
    "norm_v",
    "norm_final",
    "norm_out",
    "skip_norm",
];

/// Segments of the paths of embedders.
const EMBEDDING: [&str; 16] = [
    "caption_projection",
    "condition_embedder",
    "context_embedder",
    "guidance_condition_pro",
    "guidance_embedder",
    "ofs_embedding",
    "ofs_proj",
    "patch_embed",
    "pos_embed",
    "rope",
    "time_embedding",
    "time_proj",
    "time_text_embed",
    "timestep_embedder",
    "text_embedder",
    "x_embedder",
];

impl Preset {
    /// Whether nothing is excluded.
    pub fn is_none(&self) -> bool {
        *self == Self::Nothing
    }

    /// Whether the module at `path` is excluded: a segment of its path is on a list.
    pub fn excludes(self, path: &ModulePath) -> bool {
        self.segment_of(path).is_some()
    }

    /// The segment of `path` for which it is excluded.
    pub fn segment_of(self, path: &ModulePath) -> Option<&str> {
        let on = |list: &[&str]| path.segments().find(|segment| list.contains(segment));
        match self {
            Self::Nothing => None,
            Self::Norm => on(&NORM),
            Self::Embedding => on(&EMBEDDING),
            Self::NormAndEmbedding => on(&NORM).or_else(|| on(&EMBEDDING)),
        }
    }
}
