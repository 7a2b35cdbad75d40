//! ONNX files where commands take programs.

use super::{refusals, succeed, text};
use std::path::Path;

/// Copies the networks of `tests/fixtures/onnx` to `root`.
fn copy_networks(root: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
    for name in ["flux_block.onnx", "conv_net.onnx"] {
        std::fs::copy(folder.join(name), root.join(name)).unwrap();
    }
}

/// A network is shown, goes through passes, and gives the same before and after them.
#[test]
fn networks_are_shown_optimized_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_networks(root);
    let said = |arguments: &[&str]| succeed(root, arguments);
    let shown = text(&said(&["ir", "flux_block.onnx"]).stdout);
    assert!(shown.contains("softmax") && shown.contains(" in img.mlp.0"), "{shown}");
    let optimized = said(&["opt", "flux_block.onnx", "--passes", "quantize(int8dq)"]);
    let report = text(&optimized.stderr);
    assert!(report.contains("raise | ") && report.contains("10 of 10 linears quantized"), "{report}");
    let why =
        text(&said(&["passes", "why", "attention", "matmul_2", "flux_block.onnx", "--passes", ""]).stdout);
    assert!(why.contains("attention"), "{why}");
    let ran = said(&[
        "run",
        "conv_net.onnx",
        "--dim",
        "batch=2",
        "--random",
        "1",
        "--device",
        "cpu",
        "--outputs",
        "a.safetensors",
    ]);
    assert!(text(&ran.stderr).contains("step 0: "), "{ran:?}");
    said(&[
        "run",
        "conv_net.onnx",
        "--dim",
        "batch=2",
        "--random",
        "1",
        "--device",
        "cpu",
        "--outputs",
        "b.safetensors",
    ]);
    let bytes = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
}

/// Wherever passes run, those come first that find attention in what exporters have taken apart.
#[test]
fn passes_run_in_one_order_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_networks(root);
    let optimized = |passes: &str| {
        let said = succeed(root, &["opt", "flux_block.onnx", "--cost", "cpu", "--passes", passes, "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        let passes = report["passes"].as_array().unwrap().iter();
        passes.map(|pass| pass["pass"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let quantized = ["compare", "flux_block.onnx", "--passes-b", "quantize(int8dq)"];
    let said = text(&succeed(root, &quantized).stderr);
    for (side, passes) in [("A: ", ""), ("B: ", "quantize(int8dq)")] {
        let line = said.lines().find(|line| line.starts_with(side)).unwrap();
        let optimized = optimized(passes);
        assert_eq!(optimized[0], "raise");
        assert!(line.ends_with(&format!(", {}", optimized.join(","))), "{line}");
    }
    let divided = ["bisect", "flux_block.onnx", "--passes", "shard(devices=2)", "--json"];
    let found: serde_json::Value = serde_json::from_slice(&succeed(root, &divided).stdout).unwrap();
    assert_eq!(found["checks"][0]["passes"], optimized("shard(devices=2)").len(), "{found}");
    assert!(found["culprit"].is_null(), "{found}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_networks(root);
    std::fs::write(root.join("text.onnx"), "program p {}").unwrap();
    std::fs::create_dir(root.join("folder.onnx")).unwrap();
    let cases: [&[&str]; 16] = [
        &["ir", "conv_net.onnx"],
        &["ir", "conv_net.onnx", "--dim", "size=2"],
        &["ir", "conv_net.onnx", "--dim", "batch=0"],
        &["ir", "conv_net.onnx", "--dim", "batch"],
        &["ir", "conv_net.onnx", "--dim", "batch=1", "--dim", "batch=2"],
        &["ir", "conv_net.onnx", "--dim", "batch=1", "--rate", "z=prompt"],
        &["ir", "conv_net.onnx", "--dim", "batch=1", "--rate", "x=never"],
        &["ir", "conv_net.onnx", "--width", "64"],
        &["ir", "--model", "conv_net.onnx"],
        &["ir", "--dim", "batch=1"],
        &["ir", "text.onnx"],
        &["opt", "folder.onnx"],
        &["opt", "flux_block.onnx", "--net", "vae"],
        &["run", "flux_block.onnx", "--weights", "flux_block.onnx"],
        &["run", "flux_block.onnx"],
        &["generate", "an owl", "--model", "flux_block.onnx"],
    ];
    snapshot!("cli__onnx_refused", refusals(root, &cases));
}

/// Speed is measured as a model's is, without what only models have.
#[test]
fn networks_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_networks(root);
    let bench =
        ["bench", "conv_net.onnx", "--dim", "batch=2", "--device", "cpu", "--runs", "1", "--warmup", "0"];
    let table = text(&succeed(root, &bench).stdout);
    assert!(table.starts_with("conv_net.onnx: f32 on "), "{table}");
    assert!(table.contains("raise") && table.contains("\nrun ") && !table.contains("denoising"), "{table}");
    let json = succeed(root, &[&bench[..], &["--json", "--random-weights", "--profile"]].concat()).stdout;
    let report: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&report["model"], &report["width"]), (&"conv_net.onnx".into(), &serde_json::Value::Null));
    assert!(report["variants"][0]["median_ms"].as_f64().unwrap() > 0.0, "{report}");
    std::fs::write(root.join("program.ir"), "program p {}").unwrap();
    let cases: [&[&str]; 6] = [
        &["bench", "conv_net.onnx"],
        &["bench", "conv_net.onnx", "--dim", "batch=2", "--width", "64"],
        &["bench", "conv_net.onnx", "--image"],
        &["bench", "conv_net.onnx", "--dim", "batch=2", "--t5", "a.safetensors"],
        &["bench", "conv_net.onnx", "--dim", "batch=2", "--lora", "a.safetensors"],
        &["bench", "program.ir"],
    ];
    snapshot!("cli__refused_measurements_of_networks", refusals(root, &cases));
}
