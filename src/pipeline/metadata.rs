//! Metadata in image files: how the picture was made.

use super::image::{MEMORY, PARAMETERS};
use super::networks::Networks;
use super::request::ReferenceSize;
use super::resolved::Resolved;
use super::source::SOURCES;
use crate::VERSION;
use serde_json::json;
use std::collections::BTreeMap;

/// Metadata that all pictures of a run share.
pub(super) struct Maker<'a> {
    pub networks: &'a Networks,
    pub model: String,
    pub device_name: &'a str,
    pub peak_bytes: Option<u64>,
}

impl Maker<'_> {
    /// What of the metadata of picture `index` decides how it looks. The passes are those that are asked for, which is known before
    /// they run.
    pub fn settings(&self, prompt: &str, index: usize, request: &Resolved) -> BTreeMap<String, String> {
        const MEASURED: [&str; 2] = [PARAMETERS, MEMORY];
        let all = self.metadata(prompt, index, request).into_iter();
        let own = all.filter(|(key, _)| !MEASURED.contains(key));
        let mut settings: BTreeMap<String, String> =
            own.map(|(key, value)| (key.to_owned(), value)).collect();
        settings.insert("passes".to_owned(), self.networks.passes().to_string());
        settings
    }

    /// The metadata of picture `index`: `parameters` for tools that read those, then each setting separately.
    pub fn metadata(&self, prompt: &str, index: usize, request: &Resolved) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("prompt", prompt.to_owned()),
            ("seed", request.seed.to_string()),
            ("image", index.to_string()),
            ("steps", request.levels.sigmas.len().to_string()),
            ("max_sequence_length", request.max_sequence_length.to_string()),
            ("width", request.width.to_string()),
            ("height", request.height.to_string()),
            ("model", self.model.clone()),
            ("dtype", self.networks.dtype().to_string()),
            ("passes", self.passes_run()),
            ("device", format!("{} ({})", self.networks.device(), self.device_name)),
            ("Software", format!("reflux {VERSION}")),
        ];
        if let Some(bytes) = self.peak_bytes {
            settings.push((MEMORY, format!("{:.2} GB at most", bytes as f64 / 1e9)));
        }
        if self.networks.config().is_guided() {
            settings.push(("guidance", request.guidance.to_string()));
        }
        settings.extend(self.drawn_from(request));
        if let Some(negative) = request.negative() {
            settings.push(("negative_prompt", negative.to_owned()));
            settings.push(("true_cfg_scale", request.true_cfg_scale.to_string()));
        }
        settings.insert(0, (PARAMETERS, self.parameters(prompt, index, request)));
        settings
    }

    /// What the picture was drawn from and how, where that text; `none` if there were none.
    fn drawn_from(&self, request: &Resolved) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if request.all_pictures > 1 {
            settings.push(("images", request.all_pictures.to_string()));
        }
        if request.init_image.is_some() {
            settings.push(("strength", request.strength.to_string()));
        }
        if let Some(sigmas) = &request.given_sigmas {
            settings.push(("sigmas", sigmas.iter().map(f32::to_string).collect::<Vec<_>>().join(",")));
        }
        if let Some(shift) = request.levels.shift {
            settings.push(("flow_shift", shift.to_string()));
        }
        if let Some(side) = request.vae_tiling {
            settings.push(("vae_tiling", side.to_string()));
        }
        if request.init_latents.is_some() {
            settings.push(("init_latents", "latents that were given".into()));
        }
        if request.reference_image.is_some() && request.reference_size == ReferenceSize::Own {
            settings.push(("reference_size", "own".into()));
        }
        let pictures =
            [&request.init_image, &request.mask_image, &request.control_image, &request.reference_image];
        let sources = SOURCES.into_iter().zip(pictures);
        settings
            .extend(sources.filter_map(|(key, image)| Some((key, image.as_ref()?.source()?.to_string()))));
        settings
    }

    /// The passes that ran on the transformer, as pipeline text.
    fn passes_run(&self) -> String {
        let passes = self.networks.passes_run();
        if passes.is_empty() { "none".to_owned() } else { passes }
    }

    /// The prompt, the negative prompt, and a line of settings by the names that they have in such texts.
    fn parameters(&self, prompt: &str, index: usize, request: &Resolved) -> String {
        let mut settings = vec![
            ("Steps", request.levels.sigmas.len().to_string()),
            ("Sampler", "Euler".to_owned()),
            ("CFG scale", request.true_cfg_scale.to_string()),
        ];
        if self.networks.config().is_guided() {
            settings.push(("Distilled CFG Scale", request.guidance.to_string()));
        }
        settings.push(("Seed", request.seed.to_string()));
        if request.init_image.is_some() {
            settings.push(("Denoising strength", request.strength.to_string()));
        }
        if index > 0 {
            settings.push(("Batch pos", index.to_string()));
        }
        settings.extend([
            ("Size", format!("{}x{}", request.width, request.height)),
            ("Model", self.model.clone()),
            ("Passes", self.passes_run()),
            ("Device", self.networks.device().to_string()),
            ("Version", format!("reflux {VERSION}")),
        ]);
        let settings: Vec<_> =
            settings.into_iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
        let negative = request.negative().map(|negative| format!("Negative prompt: {negative}\n"));
        format!("{prompt}\n{}{}", negative.unwrap_or_default(), settings.join(", "))
    }
}

/// A value in the line of settings, in quotes if it contains a separator.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n', '"']) { json!(value).to_string() } else { value }
}
