//! Networks in files of their own, and models in the Hub's cache.

use super::{EMOJI, files, reflux, succeed, text};
use crate::common::model;
use std::path::Path;
use std::process::Command;

/// A Hub id is looked for in the local cache and nowhere else.
#[cfg(unix)]
#[test]
fn a_model_of_the_hub_is_found_in_its_cache() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    let model = hub.join("models--some-org--emoji");
    std::fs::create_dir_all(model.join("snapshots")).unwrap();
    std::fs::create_dir(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), "0123abcd").unwrap();
    let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji");
    std::os::unix::fs::symlink(emoji, model.join("snapshots/0123abcd")).unwrap();
    let generate = |id: &str, variable: &str, value: &Path| {
        let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "32"];
        Command::new(env!("CARGO_BIN_EXE_reflux"))
            .args(["generate", "owl", "--model", id])
            .args(small)
            .env_remove("HF_HUB_CACHE")
            .env_remove("HUGGINGFACE_HUB_CACHE")
            .env(variable, value)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    for (variable, value) in [("HF_HUB_CACHE", hub.as_path()), ("HF_HOME", folder.path())] {
        let output = generate("some-org/emoji", variable, value);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let output = generate("some-org/other", variable, value);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            message.contains(&*hub.to_string_lossy()) && message.contains("`hf download some-org/other`"),
            "{message}"
        );
    }
    assert_eq!(files(folder.path()).iter().filter(|path| path.ends_with("out.png")).count(), 1);
}

/// Weights that are drawn cannot be given as well.
#[test]
fn given_networks_are_not_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for arguments in [
        &["bench", "--random-weights", "--vae", "ae.safetensors"][..],
        &["bench", "--config", "flux-dev", "--random-weights", "--t5", "t5xxl.safetensors"],
    ] {
        let output = reflux(root, arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(message.contains("leave out one of the two"), "{message}");
    }
    let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "32"];
    for option in ["--transformer", "--vae", "--clip", "--t5"] {
        for command in [&["generate", "owl"][..], &["bench", "--image", "--runs", "1"]] {
            let output = reflux(root, &[command, &small[..], &[option, "no-such.safetensors"]].concat());
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains("no-such.safetensors: there is no such file"), "{message}");
        }
    }
}

/// A network in the place of another is called by its name, from its configuration as from its weights, and so is a part of
/// one.
#[test]
fn other_networks_and_parts_of_them_are_called_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let of_emoji = |part: &str| format!("{EMOJI}/{part}");
    let shard = of_emoji("text_encoder_2/model-00001-of-00002.safetensors");
    for (option, path, expected) in [
        (
            "--clip",
            of_emoji("text_encoder_2"),
            "it describes a T5 text encoder, but a CLIP text encoder is needed here; put this file into text_encoder_2/ or give it with --t5",
        ),
        ("--t5", of_emoji("text_encoder"), "it describes a CLIP text encoder, but a T5"),
        ("--clip", of_emoji("vae"), "it describes an autoencoder (VAE), but a CLIP"),
        ("--vae", of_emoji("transformer"), "it describes a FLUX.1 transformer, but an autoencoder"),
        ("--transformer", of_emoji("vae"), "it describes an autoencoder (VAE), but a FLUX.1 transformer"),
        (
            "--vae",
            shard.clone(),
            "00001-of-00002.safetensors is one of 2 shards; give its folder or the index",
        ),
        ("--t5", shard, "is one of 2 shards"),
    ] {
        let output = reflux(root, &["generate", "owl", "--model", EMOJI, option, &path]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{option} {path}: {message}");
    }
}

/// Numbers that are no latents are not drawn from.
#[test]
fn initial_latents_are_floating_point() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let small = ["generate", "owl", "--device", "cpu", "--steps", "1", "--width", "32", "--height", "32"];
    succeed(root, &[&small[..], &["--save-latents", "latents.safetensors"]].concat());
    let latents = root.join("latents.safetensors");
    let bytes = std::fs::read(&latents).unwrap();
    let relabelled = String::from_utf8_lossy(&bytes[8..100]).find("F32").unwrap() + 8;
    let mut integers = bytes.clone();
    integers[relabelled..relabelled + 3].copy_from_slice(b"I32");
    std::fs::write(&latents, integers).unwrap();
    let output = reflux(root, &[&small[..], &["--init-latents", "latents.safetensors"]].concat());
    assert!(text(&output.stderr).contains("`latents` has dtype i32; latents must be floating-point numbers"));
    // Noise that is given is not drawn from a seed.
    let output =
        reflux(root, &[&small[..], &["--init-latents", "latents.safetensors", "--seed", "4"]].concat());
    assert!(text(&output.stderr).contains("--seed") && output.status.code() == Some(1));
}

/// What a download that was cut off leaves is drawn with, but not in silence.
#[test]
fn weights_of_zeros_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    model::changed(root, "cut", |model| {
        let vae = model.join("vae/diffusion_pytorch_model.safetensors");
        super::overwrite(vae, |bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
        });
    });
    let small = ["generate", "owl", "--device", "cpu", "--steps", "1", "--width", "32", "--height", "32"];
    let message = text(&succeed(root, &[&small[..], &["--model", "cut"]].concat()).stderr);
    assert!(message.contains("warning: cut/vae: ") && message.contains("of zeros only"), "{message}");
    let message = text(&succeed(root, &small).stderr);
    assert!(!message.contains("warning"), "{message}");
}
