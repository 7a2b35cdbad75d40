//! `--lora` and `reflux lora`

use super::generate::png;
use super::{EMOJI, TINY, files, reflux, refusals, succeed, text};
use std::path::Path;

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/lora/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))
}

/// A copy of a fixture in `folder`, under the name `name`.
fn copied(folder: &Path, fixture_name: &str, name: &str) {
    std::fs::copy(fixture(fixture_name), folder.join(name)).unwrap();
}

#[test]
fn a_lora_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copied(root, "kohya_clip", "clip.safetensors");
    copied(root, "dora", "dora.safetensors");
    copied(root, "xlabs", "xlabs.safetensors");
    let said = |name: &str| {
        text(&succeed(root, &["lora", name, "--model", EMOJI]).stdout).replace(EMOJI, "models/emoji")
    };
    let all: String = ["clip", "dora", "xlabs"].map(|name| said(&format!("{name}.safetensors"))).concat();
    snapshot!("cli__lora", all);
    let json = succeed(root, &["lora", "clip.safetensors", "--model", EMOJI, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["kinds"]["LoRA"], 14);
    assert_eq!(json["fit"]["modules"]["text_encoder"], 12);
    // Without a model it says what the file is.
    let alone = text(&succeed(root, &["lora", "dora.safetensors"]).stdout);
    assert!(alone.contains("DoRA of 14 modules") && !alone.contains("changes"), "{alone}");
    let other = reflux(root, &["lora", "dora.safetensors", "--config", "flux-dev"]);
    assert!(
        !other.status.success() && text(&other.stderr).contains("another size"),
        "{}",
        text(&other.stderr)
    );
}

/// As an option and as a pass a LoRA is the same, and the picture says which it is.
#[test]
fn an_option_is_a_pass() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copied(root, "peft", "a.safetensors");
    copied(root, "b_peft", "b:0.3");
    let draw = |out: &str, more: &[&str]| {
        succeed(root, &[&["generate", "owl", "--device", "cpu", "-o", out][..], &TINY, more].concat());
        png(&root.join(out))
    };
    let (plain, _) = draw("plain.png", &[]);
    let (option, texts) = draw("option.png", &["--lora", "a.safetensors:0.5", "--lora", "b:0.3"]);
    let passes = texts.iter().find(|(key, _)| key == "passes").unwrap();
    assert!(passes.1.contains("lora(files=[a.safetensors:0.5,b:0.3:1],mode=merge)"), "{passes:?}");
    let (pass, _) = draw("pass.png", &["--passes", "lora(files=[a.safetensors:0.5,b:0.3])"]);
    assert!(option == pass && option != plain);
    let (zero, _) = draw("zero.png", &["--lora", "a.safetensors:0"]);
    assert!(zero == plain);
    // A dump says which weights are not the checkpoint's, and is drawn with them or not at all.
    let lora = ["--lora", "a.safetensors", "--passes-only", ""];
    let (merged, _) = draw("merged.png", &[&lora[..], &["--dump-dir", "dumps"]].concat());
    let dump = files(&root.join("dumps"))
        .into_iter()
        .find(|path| path.display().to_string().contains("lora"))
        .unwrap();
    assert!(std::fs::read_to_string(&dump).unwrap().contains("@.weight.lora f32[256,256]"));
    let dump = dump.to_str().unwrap();
    let (again, _) = draw("again.png", &["--program", dump, "--lora", "a.safetensors"]);
    assert!(again == merged);
    let without = reflux(root, &["generate", "owl", "--device", "cpu", "--program", dump]);
    let message = text(&without.stderr);
    assert!(!without.status.success() && message.contains("give these with --lora"), "{message}");
}

#[test]
fn what_runs_a_model_takes_loras() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copied(root, "peft", "a.safetensors");
    let lora = ["--lora", "a.safetensors", "--lora-mode", "branch"];
    let sizes = ["--width", "32", "--height", "32", "--steps", "2"];
    let said = |arguments: &[&str]| {
        let output = succeed(root, &[arguments, &sizes, &lora].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    assert!(said(&["ir", "--model", EMOJI]).contains("@.lora_B.0.weight"));
    assert!(said(&["opt", EMOJI, "--preview"]).contains("products of low rank beside linears"));
    let bench = said(&["bench", "--device", "cpu", "--runs", "1", "--warmup", "0"]);
    assert!(bench.contains("lora(files=[a.safetensors:1],mode=branch)"), "{bench}");
    let bisect = said(&["bisect", EMOJI, "--passes", "quantize(int8wo)"]);
    assert!(bisect.contains("every pass keeps results") && bisect.contains("lora(files"), "{bisect}");
}

#[test]
fn loras_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copied(root, "peft", "a.safetensors");
    std::fs::write(root.join("cut.safetensors"), &std::fs::read(fixture("peft")).unwrap()[..5000]).unwrap();
    std::fs::write(root.join("old.pt"), b"\x80\x04pickle").unwrap();
    std::fs::write(root.join("p.ir"), super::SMALL).unwrap();
    let report = refusals(
        root,
        &[
            &["generate", "owl", "--lora", "none.safetensors"],
            &["generate", "owl", "--lora", "cut.safetensors:0.5"],
            &["generate", "owl", "--lora", "old.pt"],
            &["generate", "owl", "--lora", "a.safetensors:inf"],
            &["generate", "owl", "--lora-mode", "branch"],
            &["generate", "owl", "--lora", "a.safetensors", "-o", "a.safetensors"],
            &["generate", "owl", "--passes", "lora(mode=branch)"],
            &["generate", "owl", "--passes", "lora(files=[a.safetensors],mode=beside)"],
            &["opt", "p.ir", "--lora", "a.safetensors"],
            &["ir", "--config", "flux-dev", "--lora", "a.safetensors"],
            &["lora", "p.ir"],
        ],
    );
    snapshot!("cli__bad_loras", report);
}
