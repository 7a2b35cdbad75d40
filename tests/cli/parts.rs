//! Networks in files of their own, and models in the Hub's cache.

use crate::{files, reflux, text};
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
            assert!(message.contains("no-such.safetensors: No such file"), "{message}");
        }
    }
}
