//! Where the parts of a model are looked for, and the errors for missing parts.

use crate::common::{emoji, read, write};
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, ModelFiles, Parts, flux1};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A copy of the bundled model without its weights, which are of no interest here.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in
        ["", "transformer", "text_encoder", "text_encoder_2", "vae", "scheduler", "tokenizer", "tokenizer_2"]
    {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for entry in fs::read_dir(emoji(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_some_and(|extension| extension == "json") {
                fs::copy(&entry, folder.path().join(part).join(entry.file_name().unwrap())).unwrap();
            }
        }
    }
    folder
}

/// What the config files of a model say.
fn config(files: &ModelFiles) -> flux1::Config {
    flux1::Config::read(&mut files.configs().unwrap()).unwrap()
}

fn emojis() -> flux1::Config {
    config(&ModelFiles::find(&emoji(""), Parts::default()).unwrap())
}

fn fails(model: &Path) -> String {
    ModelConfig::read(model).unwrap_err().to_string()
}

#[test]
fn what_is_no_model_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(fails(&empty).contains("is not a model: it has no model_index.json"));
    assert!(fails(&folder.path().join("nowhere")).starts_with("there is no folder "));
    assert!(fails(&emoji("transformer")).contains("is one part of a model"));
    fs::write(empty.join("flux1-dev.safetensors"), "").unwrap();
    fs::write(empty.join("ae.safetensors"), "").unwrap();
    assert!(
        fails(&empty)
            .contains("to use the files in it (ae.safetensors, flux1-dev.safetensors), give such a folder")
    );
    let file = emoji("vae/diffusion_pytorch_model.safetensors");
    assert!(
        fails(&file).contains("contains an autoencoder (VAE), but a FLUX.1 transformer is needed here"),
        "{}",
        fails(&file)
    );
    fs::write(empty.join("x.gguf"), "GGUF\x03\0\0\0").unwrap();
    assert!(fails(&empty.join("x.gguf")).contains("is incomplete"));
    // A GGUF file may be the weights of a folder.
    let model = copy();
    let transformer = model.path().join("transformer");
    for entry in fs::read_dir(&transformer).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.ends_with("config.json") {
            fs::remove_file(entry).unwrap();
        }
    }
    let open = || Weights::open_for(&flux1::TRANSFORMER, &transformer);
    assert!(open().unwrap_err().to_string().contains("contains no weights (.safetensors, .sft or .gguf)"));
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/gguf/flux-emoji-mixed.gguf");
    fs::copy(fixture, transformer.join("flux-emoji-mixed.gguf")).unwrap();
    let weights = open().unwrap();
    assert!(weights.names().any(|name| weights.coded(name).is_some()));
}

/// All parts that are missing are named at once, and those that the index leaves out.
#[test]
fn missing_parts_are_named() {
    let model = copy();
    let path = |name: &str| model.path().join(name);
    ModelConfig::read(model.path()).unwrap();
    fs::remove_dir_all(path("text_encoder_2")).unwrap();
    fs::remove_dir_all(path("tokenizer_2")).unwrap();
    fs::remove_file(path("scheduler/scheduler_config.json")).unwrap();
    let error = fails(model.path());
    assert!(
        error.contains("lacks text_encoder_2/config.json, scheduler/scheduler_config.json, tokenizer_2/;"),
        "{error}"
    );
    assert!(!error.contains("null"), "{error}");
    let index = fs::read_to_string(path("model_index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["text_encoder_2"] = serde_json::json!([null, null]);
    index["tokenizer_2"] = serde_json::Value::Null;
    fs::write(path("model_index.json"), index.to_string()).unwrap();
    let error = fails(model.path());
    assert!(error.contains("null for text_encoder_2, tokenizer_2"), "{error}");
}

#[test]
fn unreadable_json_says_what_to_do() {
    let model = copy();
    let path = model.path().join("vae/config.json");
    let text = fs::read_to_string(&path).unwrap();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, message) in [
        (format!("\u{feff}{text}").into_bytes(), "byte order mark"),
        ([&[0xff, 0xfe][..], &utf16].concat(), "save it as UTF-8"),
        (text.replacen('{', "{ // mine\n", 1).into_bytes(), "JSON has no comments"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = fails(model.path());
        assert!(error.contains("vae/config.json") && error.contains(message), "{error}");
    }
}

/// A network that is given separately brings its own configuration, if it has one.
#[test]
fn a_part_comes_with_its_configuration() {
    let (model, other) = (copy(), copy());
    let edited = other.path().join("vae/config.json");
    let text = fs::read_to_string(&edited).unwrap().replace("\"shift_factor\": ", "\"shift_factor\": 1");
    fs::write(&edited, text).unwrap();
    let of = |vae: &Path| {
        let parts = Parts::default().with("vae", vae);
        config(&ModelFiles::find(model.path(), parts).unwrap()).vae
    };
    let read = |model: &Path| config(&ModelFiles::find(model, Parts::default()).unwrap()).vae;
    let (own, others) = (read(model.path()), read(other.path()));
    assert_ne!(own, others);
    let vae = other.path().join("vae");
    assert_eq!(of(other.path()), others, "a model");
    assert_eq!(of(&vae), others, "a folder");
    assert_eq!(of(&vae.join("diffusion_pytorch_model.safetensors")), others, "a file in a network's folder");
    assert_eq!(of(&other.path().join("ae.safetensors")), own, "a file elsewhere");
}

/// A transformer's file needs no config.json.
#[test]
fn a_transformer_without_configuration_is_read_off_its_weights() {
    let model = copy();
    let file = model.path().join("flux1-dev.safetensors");
    write(&file, &read(&emoji("transformer")));
    fs::remove_dir_all(model.path().join("transformer")).unwrap();
    assert!(fails(model.path()).contains("lacks transformer/config.json"));
    let parts = Parts::default().with("transformer", &file);
    let files = ModelFiles::find(model.path(), parts).unwrap();
    assert_eq!(config(&files), emojis());
    assert_eq!(files.weights_path(&flux1::TRANSFORMER), file);
}

/// As the Hub's library lays it out: a snapshot of links, which the folder of the model leads to.
#[cfg(unix)]
#[test]
fn a_model_in_the_hubs_cache_is_found() {
    let cache = tempfile::tempdir().unwrap();
    let model = cache.path().join("models--some-org--emoji");
    let snapshot = model.join("snapshots/0123abcd");
    fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    fs::create_dir(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), "0123abcd").unwrap();
    fs::create_dir(&snapshot).unwrap();
    for entry in fs::read_dir(emoji("")).unwrap().map(|entry| entry.unwrap().path()) {
        std::os::unix::fs::symlink(&entry, snapshot.join(entry.file_name().unwrap())).unwrap();
    }
    for path in [&model, &snapshot] {
        let files = ModelFiles::find(path, Parts::default()).unwrap();
        assert_eq!(files.name().unwrap(), "some-org/emoji");
        assert_eq!(config(&files), emojis());
        files.weights(&flux1::VAE).unwrap();
    }
    fs::remove_file(snapshot.join("vae")).unwrap();
    let error = fails(&model);
    assert!(
        error.contains("lacks vae/config.json") && error.contains("`hf download some-org/emoji`"),
        "{error}"
    );
    fs::remove_file(snapshot.join("model_index.json")).unwrap();
    assert!(
        fails(&model).contains("model_index.json is missing; complete it with `hf download some-org/emoji`")
    );
}
