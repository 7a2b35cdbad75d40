//! What errors advise: with the options that the command has, and nothing that it lacks.

use super::{EMOJI, refusal, succeed};
use crate::common::model::{changed, fill};
use serde_json::json;

#[test]
fn a_picture_too_large_for_memory_can_be_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let large = ["--model", EMOJI, "--width", "65536", "--height", "65536", "--device", "cpu"];
    let message = refusal(folder.path(), &[&["generate", "owl"], &large[..]].concat());
    let options = " (--width, --height, --dtype bf16, --memory low)\n";
    assert!(message.contains("make the picture smaller") && message.ends_with(options), "{message}");
    let low = refusal(folder.path(), &[&["generate", "owl", "--memory", "low"], &large[..]].concat());
    assert!(low.ends_with(" (--width, --height, --dtype bf16)\n"), "{low}");
    let message = refusal(folder.path(), &[&["bisect", EMOJI], &large[2..]].concat());
    assert!(message.ends_with(" (--width, --height, --dtype bf16)\n"), "{message}");
    assert!(!message.contains("keep less in memory"), "{message}");
}

#[test]
fn a_program_too_large_for_memory_is_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let program = "program large {\n  input %x : f32[1000000,1000000,1000] latent\n  variant main (%x) -> (%y) {\n    \
                   %y = silu %x : f32[1000000,1000000,1000]\n    return %y\n  }\n  schedule main\n}\n";
    std::fs::write(folder.path().join("large.ir"), program).unwrap();
    let message = refusal(folder.path(), &["run", "large.ir", "--random", "1", "--device", "cpu"]);
    assert!(message.contains(" of memory (large)"), "{message}");
    assert!(message.contains("; run a program of smaller tensors"), "{message}");
    assert!(!message.contains("picture") && !message.contains("--"), "{message}");
}

#[test]
fn numbers_too_large_for_f16_fit_other_types() {
    let folder = tempfile::tempdir().unwrap();
    let model = changed(folder.path(), "large", |model| {
        fill(&model.join("vae/diffusion_pytorch_model.safetensors"), "decoder.conv_in.bias", 1e6);
    });
    let model = model.to_str().unwrap();
    let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "32", "--dtype", "f16"];
    let message = refusal(folder.path(), &[&["generate", "owl", "--model", model], &small[..]].concat());
    let advice = "is too large for f16; compute in bf16 or f32 (--dtype bf16, --dtype f32)\n";
    assert!(message.ends_with(advice), "{message}");
}

#[test]
fn what_is_quantized_elsewhere_can_be_quantized_here() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tensor = |start: usize| json!({ "dtype": "I32", "shape": [1], "data_offsets": [start, start + 4] });
    let header = json!({ "single_transformer_blocks.0.proj_out.qweight": tensor(0), "single_transformer_blocks.0.proj_out.qzeros": tensor(4) }).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
    std::fs::write(root.join("gptq.safetensors"), file).unwrap();
    let program = "program p {\n  input %x : f32[2] latent\n  variant main (%x) -> (%y) {\n    \
                   %y = mul %x, @w f32[2] : f32[2]\n    return %y\n  }\n  schedule main\n}\n";
    std::fs::write(root.join("p.ir"), program).unwrap();
    let message = refusal(root, &["generate", "owl", "--model", EMOJI, "--transformer", "gptq.safetensors"]);
    assert!(
        message.contains("quantize the weights, for example by the pass `quantize(int4wo)`"),
        "{message}"
    );
    assert!(message.ends_with(" (--passes \"quantize(int4wo)\")\n"), "{message}");
    let message = refusal(root, &["run", "p.ir", "--weights", "gptq.safetensors", "--device", "cpu"]);
    assert!(message.contains("GPTQ") && message.ends_with("give the unquantized file\n"), "{message}");
}

#[test]
fn without_a_gpu_there_is_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    for device in reflux::runtime::Device::all().filter(|device| device.probe().is_err()) {
        let message =
            refusal(folder.path(), &["generate", "owl", "--model", EMOJI, "--device", device.name()]);
        assert!(message.ends_with(", or use the device cpu (--device cpu)\n"), "{message}");
    }
}

/// Passes that the program rules out are named with what rules them out, and the others work as advised.
#[test]
fn default_passes_that_cannot_run_are_left_out_as_advised() {
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first_block_cache.ir");
    for command in ["opt", "bisect"] {
        let message = refusal(folder.path(), &[command, example]);
        assert!(message.contains("`hoist` requires that every step runs the same graph"), "{message}");
        assert!(message.contains("but the input program has the variants `"), "{message}");
        assert!(message.contains(", and the probes `"), "{message}");
        let (_, rest) = message.split_once("(--passes-only \"").expect(&message);
        let passes = rest.trim_end().trim_end_matches("\")");
        assert!(passes.contains("fuse") && !passes.contains("hoist"), "{passes}");
        succeed(folder.path(), &[command, example, "--passes-only", passes]);
    }
}
