//! A model's configuration: the config files of a diffusers folder, or a built-in one.

use crate::error::ModelError;
use crate::families::FAMILIES;
use crate::family::Model;
use crate::files::{ModelFiles, Parts};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The configuration of a model of any family.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    model: Arc<dyn Model>,
    /// Unknown settings in its files, which are ignored.
    pub warnings: Vec<String>,
}

impl ModelConfig {
    /// The built-in configurations' names.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().flat_map(|family| family.built_in).map(|(name, _)| *name)
    }

    /// The configuration called `name`, one of [`ModelConfig::built_in_names`].
    pub fn built_in(name: &str) -> Option<Self> {
        let (family, json) = FAMILIES.iter().find_map(|family| {
            let found = family.built_in.iter().find(|(built_in, _)| *built_in == name);
            found.map(|(_, json)| (family, json))
        })?;
        Some((family.parse)(json).into())
    }

    /// Reads the config files of a diffusers folder, and no weights.
    ///
    /// # Errors
    /// As [`ModelConfig::of`].
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        Self::of(&ModelFiles::find(folder, Parts::default())?)
    }

    /// Reads the config files of a model; reads headers of weights only if they have to determine a configuration.
    ///
    /// # Errors
    /// If one is missing or malformed, asks for something that Reflux does not compute, or if they are inconsistent.
    pub fn of(files: &ModelFiles) -> Result<Self, ModelError> {
        let mut configs = files.configs()?;
        let model = (files.family().read)(&mut configs)?;
        Ok(Self { model, warnings: configs.warnings })
    }
}

impl From<Arc<dyn Model>> for ModelConfig {
    fn from(model: Arc<dyn Model>) -> Self {
        Self { model, warnings: Vec::new() }
    }
}

impl Deref for ModelConfig {
    type Target = dyn Model;

    fn deref(&self) -> &Self::Target {
        &*self.model
    }
}
