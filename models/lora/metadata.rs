//! What the header of a file of adapters says besides its tensors.

use super::error::LoraError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The key under which diffusers keeps PEFT's configuration, as JSON.
const PEFT: &str = "lora_adapter_metadata";

/// Where trainers write what the adapter is called: kohya's, and the ModelSpec.
const TITLES: [&str; 2] = ["modelspec.title", "ss_output_name"];

/// Where they write the words that call it up.
const TRIGGERS: [&str; 3] = ["modelspec.trigger_phrase", "ss_trigger_words", "trigger_words"];

/// Where they write what it was trained on.
const BASES: [&str; 3] = ["modelspec.architecture", "ss_base_model_version", "base_model"];

/// The header's texts.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    texts: BTreeMap<String, String>,
    /// PEFT's configuration, whose keys begin with the folder of the network.
    peft: Map<String, Value>,
}

impl Metadata {
    /// # Errors
    /// If PEFT's configuration is none: it has the alphas.
    pub fn read(path: &Path, texts: BTreeMap<String, String>) -> Result<Self, LoraError> {
        let refused = |why: String| LoraError::Metadata { path: path.to_owned(), key: PEFT, why };
        let peft = match texts.get(PEFT) {
            None => Map::new(),
            Some(json) => serde_json::from_str(json).map_err(|error| refused(error.to_string()))?,
        };
        let metadata = Self { texts, peft };
        metadata.check().map_err(refused)?;
        Ok(metadata)
    }

    /// What counts must be of its type: an alpha that is a text would be none. The alphas are looked for by names of modules, and
    /// PEFT takes regular expressions.
    fn check(&self) -> Result<(), String> {
        type Kind = (&'static str, &'static str, fn(&Value) -> bool);
        const KINDS: [Kind; 3] = [
            ("lora_alpha", "a number", Value::is_number),
            ("alpha_pattern", "numbers by names of modules", |value| {
                value.as_object().is_some_and(|alphas| alphas.values().all(Value::is_number))
            }),
            ("use_rslora", "true or false", Value::is_boolean),
        ];
        for (key, value) in self.peft.iter().filter(|(_, value)| !value.is_null()) {
            let own = KINDS.iter().find(|(name, ..)| key.rsplit('.').next() == Some(*name));
            if let Some((_, kind, _)) = own.filter(|(.., is_kind)| !is_kind(value)) {
                return Err(format!("`{key}` is {value} and must be {kind}"));
            }
        }
        for (key, patterns) in self.peft.iter().filter(|(key, _)| key.ends_with("alpha_pattern")) {
            let is_name =
                |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
            let names = patterns.as_object().into_iter().flat_map(Map::keys);
            if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
                return Err(format!("`{key}` has the pattern `{name}`, and only names of modules are read"));
            }
        }
        Ok(())
    }

    /// The factor of changes of rank `rank` of the module `module` of the network in `folder`, if PEFT's configuration
    /// says it.
    pub fn factor(&self, folder: &str, module: &str, rank: usize) -> Option<f64> {
        let of = |key: &str| self.peft.get(&format!("{folder}.{key}"));
        let is_of = |name: &str| module == name || module.ends_with(&format!(".{name}"));
        let own = of("alpha_pattern").and_then(Value::as_object).and_then(|patterns| {
            patterns.iter().find(|(name, _)| is_of(name)).and_then(|(_, alpha)| alpha.as_f64())
        });
        let alpha = own.or_else(|| of("lora_alpha").and_then(Value::as_f64))?;
        let by_root = of("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        let rank = rank as f64;
        Some(alpha / if by_root { rank.sqrt() } else { rank })
    }

    /// What its maker calls it.
    pub fn title(&self) -> Option<&str> {
        self.first(&TITLES)
    }

    /// The words that call it up in a prompt.
    pub fn trigger(&self) -> Option<&str> {
        self.first(&TRIGGERS)
    }

    /// What it was trained on.
    pub fn base(&self) -> Option<&str> {
        self.first(&BASES)
    }

    fn first(&self, keys: &[&str]) -> Option<&str> {
        let texts = keys.iter().filter_map(|key| self.texts.get(*key));
        texts.map(|text| text.trim()).find(|text| !text.is_empty())
    }
}
