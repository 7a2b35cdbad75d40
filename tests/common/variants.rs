//! The bundled model as FLUX.1 Fill, Canny and Depth are: with a transformer that reads more channels.

use super::model;
use reflux::models::weights::Weights;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::path::{Path, PathBuf};

const EMBEDDER: &str = "x_embedder.weight";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of weights in a folder.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
}

/// A copy of the bundled model whose transformer reads `channels` channels, with this `x_embedder.weight` in bf16.
pub fn widened(folder: &Path, name: &str, channels: usize, embedder: &[u8]) -> PathBuf {
    model::changed(folder, name, |model| {
        let config = model.join("transformer/config.json");
        model::edit(&config, "\"in_channels\": 64", &format!("\"in_channels\": {channels}"));
        model::edit(&config, "\"out_channels\": null", "\"out_channels\": 64");
        for path in files(&model.join("transformer")) {
            let bytes = std::fs::read(&path).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let tensors = file.tensors().into_iter().map(|(name, tensor)| match name.as_str() {
                EMBEDDER => (name, TensorView::new(Dtype::BF16, vec![256, channels], embedder).unwrap()),
                _ => (name, tensor),
            });
            let written = serialize(tensors.collect::<Vec<_>>(), None).unwrap();
            std::fs::write(&path, written).unwrap();
        }
    })
}

/// The bundled model as FLUX.1 Fill, with the columns that were recorded with it.
pub fn fill(folder: &Path) -> PathBuf {
    let bytes = std::fs::read(root().join("tests/fixtures/tasks/fill_x_embedder.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    widened(folder, "fill", 384, file.tensor(EMBEDDER).unwrap().data())
}

/// The bundled model as FLUX.1 Canny or Depth, which sees in a control picture what latents are to it.
pub fn control(folder: &Path) -> PathBuf {
    let bundled = Weights::open(root().join("models/emoji/transformer")).unwrap();
    let own = bundled.tensor(EMBEDDER).unwrap();
    let twice: Vec<u8> = own.bytes.chunks_exact(128).flat_map(|row| row.iter().chain(row)).copied().collect();
    widened(folder, "control", 128, &twice)
}

/// The transformer of `model` in one file, `to`, with no configuration beside it.
pub fn transformer_alone(model: &Path, to: &Path) {
    let shards: Vec<Vec<u8>> =
        files(&model.join("transformer")).map(|path| std::fs::read(path).unwrap()).collect();
    let tensors = shards.iter().flat_map(|bytes| SafeTensors::deserialize(bytes).unwrap().tensors());
    std::fs::write(to, serialize(tensors.collect::<Vec<_>>(), None).unwrap()).unwrap();
}
