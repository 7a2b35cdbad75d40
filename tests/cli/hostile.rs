//! What others have written, and terminals obey.

use super::{SMALL, reflux, text};
use crate::common::model::{changed, edit};

/// A title, a colour, a line overwritten, and a change of direction.
const ESCAPES: &str = "\u{1b}]0;pwned\u{7}\u{1b}[31mred\rover\u{9b}2J\u{202e}";

/// Whether no terminal would obey any of it.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}')
}

#[test]
fn nothing_that_files_hold_reaches_the_terminal_as_an_escape() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write("line.ir", &SMALL.replace("silu", ESCAPES));
    write("header.ir", &format!("// passes: tap({ESCAPES})\n{SMALL}"));
    write("key.json", &serde_json::json!({ ESCAPES: 1 }).to_string());
    write("value.json", &serde_json::json!({ "cacher": ESCAPES }).to_string());
    write("own.json", &serde_json::json!({ "version": 1, "passes": [ESCAPES] }).to_string());
    let model = changed(root, "config", |model| {
        let layers = format!("\"num_layers\": {}", serde_json::json!(ESCAPES));
        edit(&model.join("transformer/config.json"), "\"num_layers\": 2", &layers);
    });
    let model = model.to_str().unwrap();
    let cases: &[&[&str]] = &[
        &["opt", "line.ir"],
        &["opt", "header.ir"],
        &["opt", "flux-dev", "--passes-config", "key.json"],
        &["opt", "flux-dev", "--passes-config", "value.json"],
        &["opt", "flux-dev", "--passes-config", "own.json"],
        &["opt", ESCAPES],
        &["generate", "owl", "--model", model],
        &["generate", "owl", "--width", ESCAPES],
        &["generate", "owl", &format!("--{ESCAPES}")],
        &[ESCAPES],
    ];
    for case in cases {
        let output = reflux(root, case);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{case:?}: {message:?}");
        assert!(is_plain(&message), "{case:?}: {message:?}");
    }
}

/// Tensors of a checkpoint and prompts that are cut are named in warnings and errors.
#[test]
fn nothing_that_is_drawn_from_does_either() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let model = changed(root, "model", |model| {
        let path = model.join("vae/diffusion_pytorch_model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (length, rest) = bytes.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
        let tensor = header.remove("decoder.conv_in.bias").unwrap();
        header.insert(format!("decoder.{ESCAPES}"), tensor);
        let header = serde_json::to_vec(&header).unwrap();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(path, [&length[..], &header, data].concat()).unwrap();
    });
    let draw = |prompt: &str, model: &str| {
        let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "32"];
        let output = reflux(root, &[&["generate", prompt, "--model", model], &small[..]].concat());
        text(&output.stderr)
    };
    let message = draw("owl", model.to_str().unwrap());
    assert!(message.starts_with("error: ") && message.contains("pwned") && is_plain(&message), "{message:?}");
    let message = draw(&format!("apple {ESCAPES} ").repeat(50), super::EMOJI);
    assert!(message.contains("warning: ") && message.contains("pwned") && is_plain(&message), "{message:?}");
}

/// More pictures than anybody waits for are refused at once, and none is made.
#[test]
fn absurd_counts_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let prompts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let refused =
        reflux(root, &[&["generate"], &prompts[..], &["--num-images", "10000", "-o", "p.png"]].concat());
    let message = text(&refused.stderr);
    assert_eq!(message, "error: the number of pictures must be 1 to 10000, not 110000\n");
    let refused = reflux(root, &["generate", "a", "b", "--num-images", "18446744073709551615"]);
    assert!(text(&refused.stderr).contains("must be 1 to 10000, not 18446744073709551615"));
    assert_eq!(super::files(root), Vec::<std::path::PathBuf>::new());
}
