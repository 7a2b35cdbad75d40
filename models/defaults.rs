//! Defaults of a model for requests.

use crate::config_file::read_json;
use crate::error::ModelError;
use crate::family::{Defaults, Model};
use crate::preview::LatentRgb;
use serde::Deserialize;
use std::path::Path;

/// The file of a model's folder that overrides its family's defaults.
pub(crate) const FILE: &str = "reflux.json";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    width: Option<usize>,
    height: Option<usize>,
    steps: Option<usize>,
    guidance: Option<f32>,
    max_sequence_length: Option<usize>,
    latent_rgb: Option<LatentRgb>,
}

impl Overrides {
    /// Checks that pictures can be made with these; an error names the setting.
    fn check(&self, model: &dyn Model) -> Result<(), String> {
        let geometry = model.family().geometry;
        for (name, pixels) in [("width", self.width), ("height", self.height)] {
            if let Some(pixels) = pixels.filter(|pixels| !geometry.divides(*pixels)) {
                let unit = geometry.pixels_per_token();
                return Err(format!("`{name}` must be a multiple of {unit} pixels, not {pixels}"));
            }
        }
        let most = model.scheduler().num_train_timesteps;
        if let Some(steps) = self.steps.filter(|steps| !(1..=most).contains(steps)) {
            return Err(format!("`steps` must be 1 to {most}, not {steps}"));
        }
        if self.max_sequence_length == Some(0) {
            return Err("`max_sequence_length` must be at least 1".into());
        }
        let patch = geometry.patch * geometry.patch;
        if let Some(latent_rgb) = &self.latent_rgb {
            let checked = latent_rgb.check(model.token_channels() / patch);
            checked.map_err(|why| format!("`latent_rgb` {why}"))?;
        }
        match self.guidance.filter(|guidance| !guidance.is_finite()) {
            Some(guidance) => Err(format!("`guidance` must be a number, not {guidance}")),
            None => Ok(()),
        }
    }
}

impl Defaults {
    /// Those of the model in `folder`: its family's, overridden by the folder's `reflux.json` if it has one.
    ///
    /// # Errors
    /// If that file cannot be read, or has settings with which no picture can be made.
    pub fn of(folder: &Path, model: &dyn Model) -> Result<Self, ModelError> {
        let path = folder.join(FILE);
        let given: Overrides =
            if path.symlink_metadata().is_ok() { read_json(&path)? } else { Overrides::default() };
        given.check(model).map_err(|why| ModelError::Setting { path, why })?;
        let family = model.defaults();
        Ok(Self {
            width: given.width.unwrap_or(family.width),
            height: given.height.unwrap_or(family.height),
            steps: given.steps.unwrap_or(family.steps),
            guidance: given.guidance.unwrap_or(family.guidance),
            max_sequence_length: given.max_sequence_length.unwrap_or(family.max_sequence_length),
            latent_rgb: given.latent_rgb.or(family.latent_rgb),
        })
    }
}
