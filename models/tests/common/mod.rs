//! Checkpoints as maps, to be taken apart and written in other layouts.

#![allow(dead_code)]

pub mod gguf;

use reflux_models::weights::Weights;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Tensors by name: type, shape and bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A file or folder of the bundled model.
pub fn emoji(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/emoji")).join(path)
}

/// A file or folder of the small transformer that the fixtures have in two layouts.
pub fn tinyrandom(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tinyrandom")).join(path)
}

/// All tensors of a file, or of the files of a folder.
pub fn read(path: &Path) -> Tensors {
    if path.is_dir() {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        return files.flat_map(|file| read(&file)).collect();
    }
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let owned = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    tensors.into_iter().map(|(name, view)| (name, owned(view))).collect()
}

pub fn write(path: &Path, tensors: &Tensors) {
    write_with(path, tensors, None);
}

pub fn write_with(path: &Path, tensors: &Tensors, metadata: Option<HashMap<String, String>>) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// The tensors under other names.
pub fn renamed(tensors: &Tensors, name: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(old, tensor)| (name(old), tensor.clone())).collect()
}

/// A tensor of nothing but zeros.
pub fn zeros(dtype: Dtype, shape: &[usize]) -> (Dtype, Vec<usize>, Vec<u8>) {
    let bits = dtype.bitsize() * shape.iter().product::<usize>();
    (dtype, shape.to_vec(), vec![0; bits / 8])
}

/// What was opened: every name with its shape and bytes.
pub fn contents(weights: &Weights) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let read = |name: &str| {
        let view = weights.get(name).unwrap();
        (view.shape.to_vec(), view.parts.concat())
    };
    weights.names().map(|name| (name.to_owned(), read(name))).collect()
}

/// The same of tensors that were not.
pub fn plain(tensors: &Tensors) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    tensors.iter().map(|(name, (_, shape, bytes))| (name.clone(), (shape.clone(), bytes.clone()))).collect()
}
