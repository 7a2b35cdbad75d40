//! Copies of the bundled model with something changed.
#![allow(dead_code, reason = "not every test changes models in every way")]

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A copy of the bundled model, `folder/name`, after `change`.
pub fn changed(folder: &Path, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let model = folder.join(name);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji"), &model);
    change(&model);
    model
}

/// Replaces a text that the file must hold.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} does not hold {from}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// A copy without guidance, as FLUX.1-schnell is: its embedder's weights go by the name of another network's.
pub fn unguided(folder: &Path, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    changed(folder, name, |model| {
        edit(
            &model.join("transformer/config.json"),
            "\"guidance_embeds\": true",
            "\"guidance_embeds\": false",
        );
        for entry in std::fs::read_dir(model.join("transformer")).unwrap() {
            rename(&entry.unwrap().path(), "time_text_embed.guidance_", "first_stage_model.unused_");
        }
        change(model);
    })
}

/// Replaces a text in a file of whatever kind by one of the same length.
fn rename(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).unwrap();
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// Makes every element of the bf16 tensor `name` of a safetensors file `value`, rounded towards zero.
pub fn fill(path: &Path, name: &str, value: f32) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!(header[name]["dtype"], "BF16", "{name}");
    let offset = |index: usize| 8 + length + header[name]["data_offsets"][index].as_u64().unwrap() as usize;
    let [low, high] = ((value.to_bits() >> 16) as u16).to_le_bytes();
    bytes[offset(0)..offset(1)].as_chunks_mut().0.fill([low, high]);
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}
