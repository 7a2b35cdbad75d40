//! What a model is used with, where a request does not say.

use crate::Error;
use reflux_models::{ModelConfig, ModelError, PIXELS_PER_TOKEN, read_json};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file of a model folder that overrides the family's defaults.
const FILE: &str = "reflux.json";

/// Defaults of a request: the model family's, overridden by the folder's `reflux.json` if it has one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Defaults {
    pub width: usize,
    pub height: usize,
    pub steps: usize,
    pub guidance: f32,
    pub max_sequence_length: usize,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    width: Option<usize>,
    height: Option<usize>,
    steps: Option<usize>,
    guidance: Option<f32>,
    max_sequence_length: Option<usize>,
}

impl Overrides {
    /// Whether pictures can be made so, and which setting is at fault if not.
    fn check(&self, config: &ModelConfig) -> Result<(), String> {
        for (name, pixels) in [("width", self.width), ("height", self.height)] {
            if let Some(pixels) =
                pixels.filter(|pixels| *pixels == 0 || !pixels.is_multiple_of(PIXELS_PER_TOKEN))
            {
                return Err(format!(
                    "`{name}` must be a multiple of {PIXELS_PER_TOKEN} pixels, not {pixels}"
                ));
            }
        }
        let most = config.scheduler.num_train_timesteps;
        if let Some(steps) = self.steps.filter(|steps| !(1..=most).contains(steps)) {
            return Err(format!("`steps` must be 1 to {most}, not {steps}"));
        }
        if self.max_sequence_length == Some(0) {
            return Err("`max_sequence_length` must be at least 1".into());
        }
        match self.guidance.filter(|guidance| !guidance.is_finite()) {
            Some(guidance) => Err(format!("`guidance` must be a number, not {guidance}")),
            None => Ok(()),
        }
    }
}

impl Defaults {
    /// What models of this configuration are used with: FLUX.1-dev's settings with guidance, -schnell's without.
    pub fn of_family(config: &ModelConfig) -> Self {
        let (steps, max_sequence_length) = if config.is_guided() { (28, 512) } else { (4, 256) };
        Self { width: 1024, height: 1024, steps, guidance: 3.5, max_sequence_length }
    }

    /// The defaults of the model in `folder`.
    pub fn of(folder: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let path = folder.join(FILE);
        let given: Overrides = if path.is_file() { read_json(&path)? } else { Overrides::default() };
        given.check(config).map_err(|why| ModelError::Setting { path, why })?;
        let family = Self::of_family(config);
        Ok(Self {
            width: given.width.unwrap_or(family.width),
            height: given.height.unwrap_or(family.height),
            steps: given.steps.unwrap_or(family.steps),
            guidance: given.guidance.unwrap_or(family.guidance),
            max_sequence_length: given.max_sequence_length.unwrap_or(family.max_sequence_length),
        })
    }
}

/// The folder of the checkpoint that comes with Reflux: in the source tree, or below the current folder.
pub fn bundled_model() -> Result<PathBuf, Error> {
    let roots = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from(".")];
    let found = roots
        .iter()
        .map(|root| root.join("models/emoji"))
        .find(|path| path.join("model_index.json").is_file());
    found.ok_or(Error::NoBundledModel(roots))
}
