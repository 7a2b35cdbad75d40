//! What an evaluation has found, as it is written to `evaluation.json` in its folder.

use super::networks::NetworkMetric;
use crate::pipeline::StageTime;
use reflux_ir::DType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Some ways to run a model, each over the same prompts and seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Of Reflux.
    pub version: String,
    pub model: String,
    /// The name of the device.
    pub device: String,
    pub dtype: DType,
    pub width: usize,
    pub height: usize,
    /// Of the base.
    pub steps: usize,
    pub guidance: Option<f32>,
    pub prompts: Vec<Prompt>,
    /// The networks that have judged the pictures, with the digests of their files in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<NetworkMetric, String>,
    /// The base, which comes first, then what was asked for, then the base with fewer steps.
    pub rows: Vec<Row>,
}

/// A prompt, and the seed of its picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub prompt: String,
    pub seed: u64,
}

/// One way to run the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique in the evaluation.
    pub name: String,
    pub kind: RowKind,
    /// All passes that ran, as pipeline text.
    pub passes: String,
    pub steps: usize,
    /// How many of the steps compute the whole network, in the mean over pictures: probes decide while they run.
    pub computed_steps: f64,
    /// The first picture, including loading and compilation.
    pub cold_seconds: f64,
    pub cold_stages: Vec<StageTime>,
    /// Of later pictures.
    pub median_seconds: f64,
    pub p95_seconds: f64,
    /// Medians of later pictures, in order.
    pub stages: Vec<StageTime>,
    /// The measured peak of device memory, in bytes, if that is known.
    pub peak_bytes: Option<u64>,
    /// What the denoiser's weights take, in bytes, in the types in which its program reads them: their size on disk once compiled.
    pub weight_bytes: u64,
    /// What each pass did to the graph.
    pub graph: Vec<PassSummary>,
    /// How near the pictures are to the base's; none for the base itself.
    pub quality: Option<Quality>,
    /// How many pictures show what their prompts ask for, if that can be told.
    pub adherence: Option<Adherence>,
    /// What networks say of the pictures.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<NetworkMetric, Spread>,
    /// In the order of the prompts.
    pub pictures: Vec<PictureResult>,
    pub warnings: Vec<String>,
}

/// Why a row is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// What all others are compared with.
    Base,
    /// What was asked for.
    Config,
    /// The base with fewer steps, as a yardstick.
    FewerSteps,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassSummary {
    /// With its options.
    pub pass: String,
    /// Ops of the program before and after it.
    pub ops: [usize; 2],
    /// For people.
    pub notes: Vec<String>,
}

/// The spread of a number over pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    /// The worst of all pictures.
    pub worst: f64,
}

/// How near pictures are to those of the base, over all prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Peak signal-to-noise ratio of pixels, in dB; 100 for equal pictures.
    pub psnr: Spread,
    /// Structural similarity (Wang et al. 2004) of luminance, 1 for equal pictures.
    pub ssim: Spread,
    /// Relative L2 distance of final latents.
    pub latent_l2: Spread,
    /// The mean over steps of the cosine between the latents after each; none where the steps differ from the base's.
    pub trajectory_cosine: Option<Spread>,
}

/// How many pictures show what their prompts ask for, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adherence {
    pub background: f64,
    pub subject: f64,
    pub size: f64,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureResult {
    /// In the evaluation's folder.
    pub file: PathBuf,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    pub seconds: f64,
    pub computed_steps: usize,
    /// None for the base itself.
    pub psnr: Option<f64>,
    pub ssim: Option<f64>,
    pub latent_l2: Option<f64>,
    pub trajectory_cosine: Option<f64>,
    /// What networks say of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<NetworkMetric, f64>,
}
