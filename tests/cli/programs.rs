//! Programs as text: `reflux ir`, `reflux ir diff` and `reflux run`

use super::{SMALL, refusal, succeed, text};
use std::path::Path;

/// `ir` and `run` together: what `ir` prints runs, and gives what the library gives.
#[test]
fn printed_programs_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |arguments: &[&str]| text(&succeed(folder.path(), arguments).stdout);
    run(&["ir", "--net", "vae", "--dtype", "f32", "--width", "32", "--height", "48", "--out", "vae.ir"]);
    let weights = root.join("models/emoji/vae");
    let weights = weights.to_str().unwrap();
    let vae = ["run", "vae.ir", "--device", "cpu", "--weights", weights, "--random", "3"];
    run(&[&vae[..], &["--outputs", "a.safetensors"]].concat());
    let profile = run(&[&vae[..], &["--outputs", "b.safetensors", "--profile"]].concat());
    assert!(profile.contains("conv2d") && profile.contains("decoder.up_blocks."), "{profile}");
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"));
    let file =
        safetensors::SafeTensors::deserialize(Box::leak(bytes("a.safetensors").into_boxed_slice())).unwrap();
    assert_eq!(file.tensor("image").unwrap().shape(), [1, 3, 48, 32]);
}

/// Which variant a probe chose is told, and only that.
#[test]
fn choices_of_probes_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first_block_cache.ir");
    let run = ["run", example, "--random", "3", "--device", "cpu"];
    let said = text(&succeed(folder.path(), &run).stderr);
    let steps: Vec<&str> = said.lines().filter(|line| line.starts_with("step ")).collect();
    assert!(steps[0].ends_with(" ms"), "the schedule says what the first step runs: {said}");
    let chose = |variant: &str| {
        let end = format!(" ms, `gate` chose `{variant}`");
        steps.iter().filter(|line| line.ends_with(&end)).count()
    };
    assert!(chose("full") > 0 && chose("reuse") > 0, "{said}");
    assert_eq!(chose("full") + chose("reuse") + 1, steps.len(), "{said}");
}

/// What differs is shown, and that it does is no failure. Escape codes are for terminals.
#[test]
fn programs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("a.ir"), SMALL).unwrap();
    std::fs::write(root.join("b.ir"), SMALL.replace("silu", "gelu")).unwrap();
    let diff = |arguments: &[&str]| text(&succeed(root, &[&["ir", "diff"], arguments].concat()).stdout);
    snapshot!("cli__diff", diff(&["a.ir", "b.ir", "--passes-a", "dce", "--context", "1"]));
    assert_eq!(diff(&["a.ir", "a.ir"]), "a.ir and a.ir are the same program\n");
    let beside = diff(&["a.ir", "b.ir", "--side-by-side"]);
    assert!(beside.contains(" | ") && !beside.contains('\u{1b}'), "{beside}");
    assert!(beside.lines().all(|line| line.chars().count() <= 160), "{beside}");
    let hoisted = diff(&["flux-dev", "flux-dev", "--passes-b", "hoist", "--width", "256", "--height", "256"]);
    assert!(
        hoisted.starts_with("--- flux-dev\n+++ flux-dev after hoist\n    prepare weights: "),
        "{hoisted}"
    );
    assert!(diff(&["flux-dev", "flux-schnell", "--net", "t5"]).contains("variant"));
    // `diff` is a command of `ir`, which shows a program without one.
    let vae = succeed(root, &["ir", "--config", "flux-dev", "--net", "vae", "-o", "vae.ir"]);
    assert!(vae.stdout.is_empty());
    assert_eq!(diff(&["vae.ir", "flux-dev", "--net", "vae"]), "vae.ir and flux-dev are the same program\n");
}

/// Values by name, each with its neighbours.
#[test]
fn values_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let ir = |pattern: &'static str| {
        ["ir", "--config", "flux-dev", "--passes", "", "--width", "256", "--height", "256", "--grep", pattern]
    };
    let grep = |pattern| text(&succeed(folder.path(), &ir(pattern)).stdout);
    snapshot!("cli__grep", format!("{}{}", grep("%s_attn_heads.7"), grep("s_attn_heads_bound.1*")));
    assert!(grep("@single_transformer_blocks.3.attn.norm_q.weight").contains("read by  %"));
    let missing = refusal(folder.path(), &ir("s_attn_head.7"));
    assert!(missing.contains("prints (did you mean `%s_attn_heads.7`?)"), "{missing}");
}
