//! Where the parts of a model lie.

use crate::weights::{Weights, WeightsError};
use crate::{ModelError, Net, hub, model_index, read_json};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The file that makes a folder a model.
const MODEL_INDEX: &str = "model_index.json";

/// The file in a network's folder that says what it is.
const CONFIG: &str = "config.json";

/// The part that is no network, and its configuration.
const SCHEDULER: &str = "scheduler";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";

/// What trainers call a LoRA that belongs to the model in whose folder it lies.
const LORA: &str = "pytorch_lora_weights.safetensors";

/// What prompts are read with; only who draws needs them.
const TOKENIZERS: [&str; 2] = ["tokenizer", "tokenizer_2"];

/// Networks that are given by themselves, in place of those in the model's folder: each a file, a folder with weights, or a
/// model of which it is a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub transformer: Option<PathBuf>,
    pub clip: Option<PathBuf>,
    pub t5: Option<PathBuf>,
    pub vae: Option<PathBuf>,
}

impl Parts {
    /// Where the weights of `net` are, if it is given by itself.
    pub fn get(&self, net: Net) -> Option<&Path> {
        match net {
            Net::Transformer => self.transformer.as_deref(),
            Net::Clip => self.clip.as_deref(),
            Net::T5 => self.t5.as_deref(),
            Net::Vae => self.vae.as_deref(),
        }
    }
}

/// A model's folder in diffusers layout, and the networks that take the place of its own.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    folder: PathBuf,
    parts: Parts,
    /// What the folder's `model_index.json` says.
    index: Map<String, Value>,
}

impl ModelFiles {
    /// The model that `model` means: a folder in diffusers layout, the folder of a model in the Hugging Face Hub's local cache,
    /// or the id of one, such as `black-forest-labs/FLUX.1-dev`. Nothing is downloaded.
    ///
    /// # Errors
    /// If there is none, which says what is there instead.
    pub fn find(model: &Path, parts: Parts) -> Result<Self, ModelError> {
        let folder = hub::locate(model).map_err(|error| match error {
            // A file that is no weights at all is better called by its name.
            ModelError::File { path } => {
                Weights::open(&path).err().map_or(ModelError::File { path }, ModelError::Weights)
            }
            other => other,
        })?;
        let index = folder.join(MODEL_INDEX);
        if index.symlink_metadata().is_err() {
            return Err(no_model(folder));
        }
        let described = index;
        let index: Map<String, Value> = read_json(&described)?;
        model_index::check(&index, |net| parts.get(net).is_some())
            .map_err(|why| ModelError::Setting { path: described, why })?;
        let part = |net: Net| parts.get(net).map(|path| part_of_model(net, path)).transpose();
        let parts = Parts {
            transformer: part(Net::Transformer)?,
            clip: part(Net::Clip)?,
            t5: part(Net::T5)?,
            vae: part(Net::Vae)?,
        };
        Ok(Self { folder, parts, index })
    }

    /// The model's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the model is called: its id where it is in the Hub's cache, else its folder's name.
    pub fn name(&self) -> Option<String> {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        hub::id_of(&folder).or_else(|| Some(folder.file_name()?.to_string_lossy().into_owned()))
    }

    /// Where the weights of `net` are.
    pub fn weights_path(&self, net: Net) -> PathBuf {
        self.parts.get(net).map_or_else(|| self.folder.join(net.folder()), Path::to_owned)
    }

    /// The weights of `net`.
    ///
    /// # Errors
    /// As [`Weights::open_for`].
    pub fn weights(&self, net: Net) -> Result<Weights, WeightsError> {
        Weights::open_for(net, self.weights_path(net))
    }

    /// Files beside the weights that change pictures elsewhere and are not used here, each with what is to be said of it.
    pub fn unused(&self) -> Vec<String> {
        let folders = [self.folder.clone(), self.weights_path(Net::Transformer)];
        let files = folders.iter().map(|folder| folder.join(LORA)).filter(|path| path.is_file());
        files
            .map(|path| {
                format!("{} is a LoRA and is not used: Reflux cannot apply LoRAs yet", path.display())
            })
            .collect()
    }

    /// The configuration of `net`: that beside its weights, if these are a network's folder or in one, else the model's. `None`
    /// if there is none and the weights, given by themselves, must tell.
    pub(crate) fn config_path(&self, net: Net) -> Option<PathBuf> {
        let beside = self.parts.get(net).and_then(|path| match path.is_dir() {
            true => Some(path.join(CONFIG)),
            false => path
                .parent()
                .filter(|folder| folder.ends_with(net.folder()))
                .map(|folder| folder.join(CONFIG)),
        });
        let of_model = self.folder.join(net.folder()).join(CONFIG);
        beside.into_iter().chain([of_model]).find(|path| path.symlink_metadata().is_ok())
    }

    /// The scheduler's configuration.
    pub(crate) fn scheduler_path(&self) -> PathBuf {
        self.folder.join(SCHEDULER).join(SCHEDULER_CONFIG)
    }

    /// Refuses a model of which a part is missing that neither weights nor defaults can make up for, naming all that are.
    pub(crate) fn check_parts(&self) -> Result<(), ModelError> {
        let is_told = |net: Net| {
            self.config_path(net).is_some() || net == Net::Transformer && self.parts.transformer.is_some()
        };
        let networks = Net::ALL.into_iter().filter(|net| !is_told(*net));
        let mut missing: Vec<String> = networks.map(|net| format!("{}/{CONFIG}", net.folder())).collect();
        if self.scheduler_path().symlink_metadata().is_err() {
            missing.push(format!("{SCHEDULER}/{SCHEDULER_CONFIG}"));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let tokenizers = TOKENIZERS.into_iter().filter(|name| !self.folder.join(name).is_dir());
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

/// Whether `model_index.json` says of a part that there is none: null, or a pair of these.
fn is_null(part: &Value) -> bool {
    part.is_null() || part.as_array().is_some_and(|pair| !pair.is_empty() && pair.iter().all(Value::is_null))
}

/// Where the weights of `net` are at `path`, which may be those of a whole model.
fn part_of_model(net: Net, path: &Path) -> Result<PathBuf, ModelError> {
    if path.exists() && !path.is_dir() {
        return Ok(path.to_owned());
    }
    let folder = match hub::locate(path) {
        Ok(folder) => folder,
        // That there is no such file is for who opens it to say.
        Err(ModelError::NoFolder { .. }) => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    let is_model = folder.join(MODEL_INDEX).symlink_metadata().is_ok();
    Ok(if is_model { folder.join(net.folder()) } else { folder })
}

/// What a folder is that is no model.
fn no_model(folder: PathBuf) -> ModelError {
    let is_model = |folder: &Path| folder.join(MODEL_INDEX).is_file();
    if let Some(model) = folder.parent().filter(|parent| is_model(parent)) {
        return ModelError::PartOfModel { model: model.to_owned(), folder };
    }
    if let Some(id) = hub::id_of(&folder) {
        return ModelError::Snapshot { why: format!("{MODEL_INDEX} is not there"), folder, id };
    }
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<String> = names
        .filter(|name| [".safetensors", ".sft", ".gguf"].iter().any(|end| name.ends_with(end)))
        .collect();
    files.sort();
    ModelError::NoModel { folder, files }
}
