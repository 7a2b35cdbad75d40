//! The command line as a user meets it: bad input gets one clear message and exit code 1, and leaves nothing behind.

#[path = "common/model.rs"]
mod model;
#[macro_use]
#[path = "common/snapshot.rs"]
mod snapshot;

use model::{changed, edit};

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs reflux in `folder`.
fn reflux(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reflux")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The names of all files below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        }
        found.push(entry);
    }
    found.sort();
    found
}

fn overwrite(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn bad_input_is_one_message_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let vae = "vae/diffusion_pytorch_model.safetensors";
    changed(root, "truncated", |model| overwrite(model.join(vae), |bytes| bytes.truncate(bytes.len() / 2)));
    changed(root, "corrupt", |model| overwrite(model.join(vae), |bytes| bytes[9..40].fill(b'#')));
    changed(root, "shard", |model| {
        edit(
            &model.join("transformer/diffusion_pytorch_model.safetensors.index.json"),
            "00002-of",
            "00009-of",
        );
    });
    changed(root, "shapes", |model| {
        edit(&model.join("transformer/config.json"), "\"num_layers\": 2", "\"num_layers\": 3");
    });
    changed(root, "json", |model| {
        std::fs::write(model.join("vae/config.json"), "{\"out_channels\": ").unwrap()
    });
    changed(root, "heads", |model| {
        edit(
            &model.join("transformer/config.json"),
            "\"attention_head_dim\": 128",
            "\"attention_head_dim\": 0",
        );
    });
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("bad.ir"), "program p {\n  variant main () -> () {\n    %x = linaer\n").unwrap();
    let program = "program p {\n  input %x : f32[2] latent\n  variant main (%x) -> (%y) {\n    \
                   %y = mul %x, @w f32[2] : f32[2]\n    return %y\n  }\n  schedule main\n}\n";
    std::fs::write(root.join("good.ir"), program).unwrap();
    std::fs::write(root.join("notes.txt"), "no tensors").unwrap();
    let before = files(root);

    let prompt = "a red apple";
    let cases: &[&[&str]] = &[
        &["generate"],
        &["generate", prompt, "--colour", "red"],
        &["generate", prompt, "--width", "0"],
        &["generate", prompt, "--height", "7"],
        &["generate", prompt, "--width", "1000000", "--height", "1000000"],
        &["generate", prompt, "--steps", "0"],
        &["generate", prompt, "--steps", "1001"],
        &["generate", prompt, "--num-images", "0"],
        &["generate", prompt, "--guidance", "NaN"],
        &["generate", prompt, "--max-sequence-length", "0"],
        &["generate", prompt, "--out", "nowhere/picture.png"],
        &["generate", prompt, "--out", "picture.jpg"],
        &["generate", prompt, "--out", "empty"],
        &["generate", prompt, "--save-latents", "nowhere/latents.safetensors"],
        &["generate", prompt, "--negative-prompt", "blue"],
        &["generate", prompt, "--init-latents", "notes.txt"],
        &["generate", prompt, "--init-latents", "missing.safetensors"],
        &["generate", prompt, "--init-latents", "corrupt/vae/diffusion_pytorch_model.safetensors"],
        &["generate", prompt, "--model", "missing"],
        &["generate", prompt, "--model", "empty"],
        &["generate", prompt, "--model", "truncated"],
        &["generate", prompt, "--model", "corrupt"],
        &["generate", prompt, "--model", "shard"],
        &["generate", prompt, "--model", "shapes"],
        &["generate", prompt, "--model", "json"],
        &["generate", prompt, "--model", "heads"],
        &["generate", prompt, "--transformer", "notes.txt"],
        &["ir", "--config", "flux-max"],
        &["ir", "--model", "empty"],
        &["ir", "--width", "20"],
        &["ir", "--width", "18446744073709551600"],
        &["ir", "--out", "nowhere/flux.ir"],
        &["run", "bad.ir", "--outputs", "out.safetensors"],
        &["run", "missing.ir"],
        &["run", "good.ir"],
        &["run", "good.ir", "--weights", "notes.txt"],
        &["run", "good.ir", "--weights", "truncated/transformer"],
        &["frobnicate"],
    ];
    let mut report = String::new();
    for case in cases {
        let device: &[&str] = if ["generate", "run"].contains(&case[0]) { &["--device", "cpu"] } else { &[] };
        let output = reflux(root, &[case, device].concat());
        let message = text(&output.stderr);
        writeln!(report, "$ reflux {}\n{}", case.join(" ").replace(prompt, "PROMPT"), message.trim_end())
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{case:?}: {message}");
        assert!(!message.contains("panicked") && !message.contains("Reflux itself"), "{case:?}: {message}");
        assert_eq!(text(&output.stdout), "", "{case:?}");
        assert_eq!(files(root), before, "{case:?} left something behind");
    }
    // The one number that depends on the machine.
    let report: Vec<_> = report
        .lines()
        .map(|line| match (line.find("and cpu has "), line.find(" GB free")) {
            (Some(start), Some(end)) => format!("{}and cpu has N{}", &line[..start], &line[end..]),
            _ => line.to_owned(),
        })
        .collect();
    snapshot!("cli__bad_input", report.join("\n"));
}

#[test]
fn a_long_prompt_is_cut_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "apple ".repeat(17_000);
    let arguments =
        ["generate", &prompt, "--device", "cpu", "--steps", "1", "--width", "32", "--height", "32", "--json"];
    let output = reflux(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let warnings = text(&output.stderr);
    for encoder in ["CLIP takes 77 tokens", "T5 takes 32 tokens"] {
        assert!(warnings.contains(encoder), "{warnings}");
    }
    assert!(warnings.contains("more characters") && warnings.len() < 1000, "{warnings}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(summary["steps"], 1);
    assert!(summary["stages"].as_array().unwrap().iter().any(|stage| stage["stage"] == "denoise"));
    assert_eq!(files(folder.path()), [folder.path().join("out.png")]);
}

#[test]
fn several_pictures_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "16"];
    let output =
        reflux(folder.path(), &[&["generate", "owl", "apple", "--out", "p.png"], &small[..]].concat());
    assert_eq!(text(&output.stdout), "p-0.png\np-1.png\n");
    let latents = ["generate", "owl", "--save-latents", "final.safetensors"];
    assert!(reflux(folder.path(), &[&latents, &small[..]].concat()).status.success());
    let again = ["generate", "owl", "--init-latents", "final.safetensors", "--out", "again.png"];
    assert!(reflux(folder.path(), &[&again, &small[..]].concat()).status.success());
    let names = ["again.png", "final.safetensors", "out.png", "p-0.png", "p-1.png"];
    assert_eq!(files(folder.path()), names.map(|name| folder.path().join(name)));
}

/// `ir` and `run` together: what `ir` prints runs, and gives what the library gives.
#[test]
fn printed_programs_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |arguments: &[&str]| {
        let output = reflux(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&["ir", "--net", "vae", "--dtype", "f32", "--width", "32", "--height", "48", "--out", "vae.ir"]);
    let weights = root.join("models/emoji/vae");
    let weights = weights.to_str().unwrap();
    let vae = ["run", "vae.ir", "--device", "cpu", "--weights", weights, "--random", "3"];
    run(&[&vae[..], &["--outputs", "a.safetensors"]].concat());
    let profile = run(&[&vae[..], &["--outputs", "b.safetensors", "--profile"]].concat());
    assert!(profile.contains("conv2d") && profile.contains("decoder.conv_in"), "{profile}");
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    let file =
        safetensors::SafeTensors::deserialize(Box::leak(bytes("a.safetensors").into_boxed_slice())).unwrap();
    assert_eq!(file.tensor("image").unwrap().shape(), [1, 3, 48, 32]);
}

#[test]
fn help_version_and_doctor_succeed() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(text(&reflux(folder.path(), &["--version"]).stdout), format!("reflux {}\n", reflux::VERSION));
    for arguments in [&["--help"][..], &["help", "generate"], &["doctor"], &["doctor", "--json"]] {
        let output = reflux(folder.path(), arguments);
        assert!(
            output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(),
            "{arguments:?}"
        );
    }
}
