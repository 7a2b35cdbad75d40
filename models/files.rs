//! The files of a model.

mod copies;
mod single;

pub use copies::ModelFile;

use crate::config_file::ConfigFile;
use crate::configs::{Configs, Described};
use crate::families;
use crate::families::FAMILIES;
use crate::family::Family;
use crate::model_index::{self, SCHEDULER, is_null};
use crate::net::Net;
use crate::weights::{Weights, WeightsError};
use crate::{ModelError, hub};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file by which a folder is recognised as a model.
const MODEL_INDEX: &str = "model_index.json";

/// The config file in a network's folder.
const CONFIG: &str = "config.json";

/// The scheduler's configuration.
const SCHEDULER_CONFIG: &str = "scheduler_config.json";

/// The name of a LoRA file in a model's folder.
const LORA: &str = "pytorch_lora_weights.safetensors";

/// Networks that replace those in the model's folder: each a file, a folder with weights, or a model that contains it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeMap<String, PathBuf>);

impl Parts {
    /// With the weights at `path` for the network with the name `name` on the command line, such as `t5`.
    pub fn with(mut self, name: &str, path: impl Into<PathBuf>) -> Self {
        self.0.insert(name.to_owned(), path.into());
        self
    }

    /// Where the weights of `net` are, if it is given separately.
    pub fn get(&self, net: &Net) -> Option<&Path> {
        self.0.get(net.part()).map(PathBuf::as_path)
    }

    /// What is given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The first that is not a network of `family`.
    fn stranger(&self, family: &Family) -> Option<&str> {
        let is_part = |name: &str| family.nets.iter().any(|net| net.name == name);
        self.0.keys().map(String::as_str).find(|name| !is_part(name))
    }
}

/// A model's folder in diffusers layout, and the networks that replace some of its own.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    family: &'static Family,
    folder: PathBuf,
    parts: Parts,
    /// What the folder's `model_index.json` says.
    index: Map<String, Value>,
    /// The file that is the model, if it is one; the folder is where it is.
    file: Option<PathBuf>,
}

impl ModelFiles {
    /// Finds the model: a folder in diffusers layout, the folder of a model in the Hugging Face Hub's local cache,
    /// the id of one, such as `black-forest-labs/FLUX.1-dev`, or a file with all of its networks. Nothing is downloaded.
    ///
    /// # Errors
    /// If there is none; the error says what was found instead.
    pub fn find(model: &Path, parts: Parts) -> Result<Self, ModelError> {
        Self::find_of(FAMILIES, model, parts)
    }

    /// [`ModelFiles::find`] for the models of some families.
    ///
    /// # Errors
    /// As there.
    pub fn find_of(families: &[&'static Family], model: &Path, parts: Parts) -> Result<Self, ModelError> {
        if model.is_file() {
            return single::find(families, model, parts);
        }
        let folder = hub::locate(model)?;
        let index = folder.join(MODEL_INDEX);
        if index.symlink_metadata().is_err() {
            return Err(no_model(folder));
        }
        let file = ConfigFile::open(&index)?;
        let index: Map<String, Value> = file.json()?;
        let family = model_index::family(&index, families, |net| parts.get(net).is_some())
            .map_err(|why| file.refused(why))?;
        if let Some(name) = parts.stranger(family) {
            let (names, family) = (names(family), family.name);
            return Err(file.refused(format!("{family} has no network `{name}`; it has {names}")));
        }
        let part = |net: &&Net| {
            let path = parts.get(net)?;
            Some(part_of_model(net, path).map(|path| (net.name.to_owned(), path)))
        };
        let parts = family.nets.iter().copied().filter_map(|net| part(&net));
        let parts = Parts(parts.collect::<Result<_, _>>()?);
        Ok(Self { family, folder, parts, index, file: None })
    }

    /// The family of the model.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// The model's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the model is a file of weights, for which tokenizers and the scheduler's settings are built in.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// The name of the model: its id if it is in the Hub's cache, else the name of its folder.
    pub fn name(&self) -> Option<String> {
        if let Some(file) = &self.file {
            return Some(file.file_stem()?.to_string_lossy().into_owned());
        }
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        hub::id_of(&folder).or_else(|| Some(folder.file_name()?.to_string_lossy().into_owned()))
    }

    /// Where the weights of `net` are.
    pub fn weights_path(&self, net: &Net) -> PathBuf {
        self.parts.get(net).map_or_else(|| self.folder.join(net.folder), Path::to_owned)
    }

    /// Whether the weights of `net` are given separately.
    pub fn is_replaced(&self, net: &Net) -> bool {
        self.parts.get(net).is_some()
    }

    /// The weights of `net`.
    ///
    /// # Errors
    /// As [`Weights::open_for`].
    pub fn weights(&self, net: &'static Net) -> Result<Weights, WeightsError> {
        Weights::open_for(net, self.weights_path(net))
    }

    /// Warnings about files beside the weights that change pictures in other programs and are not used here.
    pub fn unused(&self) -> Vec<String> {
        let folders = [self.folder.clone(), self.weights_path(self.family.denoiser())];
        let files = folders.iter().map(|folder| folder.join(LORA)).filter(|path| path.is_file());
        files
            .map(|path| {
                format!("{} is a LoRA, and not applied by itself: apply it with --lora", path.display())
            })
            .collect()
    }

    /// The configuration of `net`: that beside its weights, if these are a network's folder or in one, else the model's. `None`
    /// if there is none and the replaced weights have to determine it.
    fn config_path(&self, net: &Net) -> Option<PathBuf> {
        let beside = self.parts.get(net).and_then(|path| match path.is_dir() {
            true => Some(path.join(CONFIG)),
            false => {
                path.parent().filter(|folder| folder.ends_with(net.folder)).map(|folder| folder.join(CONFIG))
            }
        });
        beside.into_iter().chain([self.own_config(net)]).find(|path| path.symlink_metadata().is_ok())
    }

    /// Where the model's own configuration of `net` is, if it has one.
    fn own_config(&self, net: &Net) -> PathBuf {
        self.folder.join(net.folder).join(CONFIG)
    }

    /// The scheduler's configuration.
    fn scheduler_path(&self) -> PathBuf {
        self.folder.join(SCHEDULER).join(SCHEDULER_CONFIG)
    }

    /// Opens the config files of all parts, and the weights of those without one.
    ///
    /// # Errors
    /// If a part is missing that neither weights nor defaults can replace, or if a file cannot be read.
    pub fn configs(&self) -> Result<Configs, ModelError> {
        self.check_parts()?;
        let described = |net: &&'static Net| {
            let described = match self.config_path(net) {
                Some(path) => {
                    let is_replaced = self.parts.get(net).is_some() && path == self.own_config(net);
                    let may_vary = is_replaced && net.architecture.settings.is_some();
                    // Where they cannot be read, whoever opens them says so.
                    let weights = may_vary.then(|| self.weights(net).ok()).flatten();
                    Described::ByFile(ConfigFile::open(&path)?, weights.map(Box::new))
                }
                None => Described::ByWeights(Box::new(self.weights(net)?)),
            };
            Ok((*net, described))
        };
        let networks = self.family.nets.iter().map(described).collect::<Result<_, ModelError>>()?;
        let path = self.scheduler_path();
        let is_built_in = self.file.is_some() && path.symlink_metadata().is_err();
        let scheduler = if is_built_in { None } else { Some(ConfigFile::open(&path)?) };
        let unused = model_index::unused(&self.index, self.family);
        let unused = (!unused.is_empty()).then(|| {
            let (path, names) = (self.folder.join(MODEL_INDEX), unused.join("`, `"));
            format!("{}: `{names}` is unknown and ignored", path.display())
        });
        let warnings = unused.into_iter().collect();
        Ok(Configs { folder: self.folder.clone(), networks, scheduler, warnings })
    }

    /// Refuses a model with missing parts that neither weights nor defaults can replace, and names them all.
    fn check_parts(&self) -> Result<(), ModelError> {
        let is_told = |net: &Net| {
            let by_weights = net.architecture.settings.is_some() && self.parts.get(net).is_some();
            by_weights || self.config_path(net).is_some()
        };
        let networks = self.family.nets.iter().filter(|net| !is_told(net));
        let mut missing: Vec<String> = networks.map(|net| format!("{}/{CONFIG}", net.folder)).collect();
        if self.file.is_none() && self.scheduler_path().symlink_metadata().is_err() {
            missing.push(format!("{SCHEDULER}/{SCHEDULER_CONFIG}"));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let tokenizers = self.family.tokenizers.iter().filter(|name| !self.folder.join(name).is_dir());
        missing.extend(tokenizers.map(|name| format!("{name}/")));
        let left_out =
            self.index.iter().filter(|(_, part)| is_null(part)).map(|(name, _)| name.clone()).collect();
        Err(ModelError::MissingParts {
            folder: self.folder.clone(),
            missing,
            left_out,
            id: hub::id_of(&self.folder),
        })
    }
}

/// The command line's names of the networks of `family`.
fn names(family: &Family) -> String {
    family.nets.iter().map(|net| net.name).collect::<Vec<_>>().join(", ")
}

/// Where the weights of `net` are at `path`, which may be those of a whole model.
fn part_of_model(net: &Net, path: &Path) -> Result<PathBuf, ModelError> {
    if path.exists() && !path.is_dir() {
        return Ok(path.to_owned());
    }
    let folder = match hub::locate(path) {
        Ok(folder) => folder,
        // If there is no such file, opening it reports that.
        Err(ModelError::NoFolder { .. }) => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    let is_model = folder.join(MODEL_INDEX).symlink_metadata().is_ok();
    Ok(if is_model { folder.join(net.folder) } else { folder })
}

/// The error for a folder that is not a model.
fn no_model(folder: PathBuf) -> ModelError {
    let is_model = |folder: &Path| folder.join(MODEL_INDEX).is_file();
    if let Some(model) = folder.parent().filter(|parent| is_model(parent)) {
        return ModelError::PartOfModel { model: model.to_owned(), folder };
    }
    if let Some(id) = hub::id_of(&folder) {
        return ModelError::Snapshot { why: format!("{MODEL_INDEX} is missing"), folder, id };
    }
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> = names
        .filter(|name| [".safetensors", ".sft", ".gguf"].iter().any(|end| name.ends_with(end)))
        .collect();
    files.sort();
    ModelError::NoModel { folder, files, folders: families::folders(), options: families::part_options() }
}
