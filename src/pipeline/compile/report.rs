//! What compiling a model gave.

use crate::pipeline::compiled::Manifest;
use reflux_ir::{DType, Fact};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What compiling a model gave.
#[derive(Clone, Debug, Serialize)]
pub struct CompileReport {
    pub folder: PathBuf,
    pub model: String,
    pub device: String,
    pub dtype: DType,
    /// The passes that ran, as pipeline text.
    pub passes: String,
    /// For each of the sizes that were asked for.
    pub programs: Vec<CompiledProgram>,
    /// The most bytes first.
    pub weights: Vec<WeightsOfType>,
    /// On the disk.
    pub weights_bytes: u64,
    pub weights_files: usize,
    /// Of the other networks, tokenizers and configurations.
    pub copied_bytes: u64,
}

/// The program for one of the sizes.
#[derive(Clone, Debug, Serialize)]
pub struct CompiledProgram {
    /// In words.
    pub sizes: String,
    pub file: String,
    pub bytes: u64,
    /// Whether it was not there already.
    pub is_new: bool,
}

/// The weights that are saved in one type.
#[derive(Clone, Debug, Serialize)]
pub struct WeightsOfType {
    /// Without a shape: `i8.row.bf16`.
    pub dtype: String,
    pub count: usize,
    pub bytes: u64,
}

impl CompileReport {
    /// One of the model in `folder`, without its programs and the types of its weights, where nothing was copied.
    pub fn of(folder: &Path, manifest: &Manifest) -> Self {
        Self {
            folder: folder.to_owned(),
            model: manifest.model.clone(),
            device: manifest.device.clone(),
            dtype: manifest.dtype,
            passes: manifest.passes.clone(),
            programs: Vec::new(),
            weights: Vec::new(),
            weights_bytes: manifest.weights.iter().map(|entry| entry.bytes).sum(),
            weights_files: manifest.weights.len(),
            copied_bytes: 0,
        }
    }
}

/// Weights by their type.
pub fn by_type<'f>(weights: impl Iterator<Item = (&'f str, &'f Fact)>) -> Vec<WeightsOfType> {
    let mut types: BTreeMap<String, WeightsOfType> = BTreeMap::new();
    for (_, fact) in weights {
        let dtype = match fact.scales {
            Some(scales) => format!("{}.{scales}", fact.dtype),
            None => fact.dtype.to_string(),
        };
        let none = WeightsOfType { dtype: dtype.clone(), count: 0, bytes: 0 };
        let of_type = types.entry(dtype).or_insert(none);
        (of_type.count, of_type.bytes) = (of_type.count + 1, of_type.bytes + fact.bytes());
    }
    let mut types: Vec<_> = types.into_values().collect();
    types.sort_by_key(|of_type| std::cmp::Reverse(of_type.bytes));
    types
}
