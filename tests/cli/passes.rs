//! Passes: `reflux opt`, `reflux passes`, and `--passes` everywhere

use super::{EMOJI, SMALL, TINY, files, printed, succeed, text, timeless};
use std::path::{Path, PathBuf};

#[test]
fn opt_gives_a_program_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("small.ir"), SMALL).unwrap();
    let passes = ["--passes", "canonicalize,quantize(int8dq,skip=up),dce"];
    let output = succeed(root, &[&["opt", "small.ir"], &passes[..]].concat());
    let (program, report) = (text(&output.stdout), timeless(&text(&output.stderr)));
    snapshot!("cli__opt", format!("{program}\n{report}"));

    let out = succeed(root, &[&["opt", "small.ir", "-o", "out.ir"], &passes[..]].concat());
    assert_eq!(std::fs::read_to_string(root.join("out.ir")).unwrap(), program);
    assert_eq!((text(&out.stdout), timeless(&text(&out.stderr))), (String::new(), report.clone()));
    let preview = succeed(root, &[&["opt", "small.ir", "--preview"], &passes[..]].concat());
    assert_eq!((timeless(&text(&preview.stdout)), text(&preview.stderr)), (report, String::new()));
    let json = succeed(root, &[&["opt", "small.ir", "--json"], &passes[..]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let names = json["passes"].as_array().unwrap().iter().map(|pass| pass["pass"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["canonicalize", "quantize(int8dq,skip=[up])", "dce"]);
    assert!(json["passes"][2]["changed"] == true && json["passes"][1]["exactness"] == "lossy");

    let stopped = [&["opt", "small.ir", "--stop-after", "1", "--print-after", "all"], &passes[..]].concat();
    let stopped = succeed(root, &stopped);
    let after_first = text(&stopped.stdout);
    assert!(text(&stopped.stderr).starts_with(&format!("// after canonicalize\n{after_first}")));
    assert!(!after_first.contains("quantize"));
}

#[test]
fn dumps_replay() {
    let folder = tempfile::tempdir().unwrap();
    let dumps = folder.path().join("dumps");
    let passes =
        "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),cache(pab,interval=3),dce";
    let arguments =
        [&["opt", EMOJI, "--passes", passes, "--dump-dir", "dumps", "-o", "out.ir"], &TINY[..]].concat();
    succeed(folder.path(), &arguments);
    let dump = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (mut replayed, mut last) = (0, String::new());
    assert!(dump(&dumps.join("index.html")).starts_with("<!doctype html>"));
    for path in files(&dumps).into_iter().filter(|path| path.extension().is_some_and(|end| end == "ir")) {
        last = dump(&path);
        let replay = last.lines().find_map(|line| line.strip_prefix("// replay: reflux "));
        let Some((input, passes)) = replay.and_then(|replay| replay.split_once(" --passes ")) else {
            continue;
        };
        let passes = passes.trim_matches('\'');
        let output = succeed(&dumps, &["opt", input.trim_start_matches("opt "), "--passes", passes]);
        assert_eq!(text(&output.stdout), printed(&last), "{}", path.display());
        replayed += 1;
    }
    assert!(replayed >= 4, "{:?}", files(&dumps));
    assert_eq!(dump(&folder.path().join("out.ir")), printed(&last));
}

/// A reproducer says itself which passes to run; what has no such header runs the lossless ones.
#[test]
fn a_header_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("plain.ir"), SMALL).unwrap();
    let header = "// passes: quantize(int8wo)\n// fails with:\n// …\n";
    std::fs::write(root.join("reproducer.ir"), format!("{header}{SMALL}")).unwrap();
    let passes = |arguments: &[&str]| {
        let report = text(&succeed(root, arguments).stderr);
        let first = |line: &str| line.split(" | ").next().unwrap_or_default().to_owned();
        report.lines().filter(|line| !line.starts_with(' ')).map(first).collect::<Vec<_>>().join(",")
    };
    // The report spells the machine out that `fuse` counts with.
    let lossless = reflux::passes::LOSSLESS.replace("fuse", "fuse(device=h100)");
    assert_eq!(passes(&["opt", "plain.ir"]), lossless);
    // With --cost, the passes are those of that device, and it is the machine.
    let packed = reflux::passes::LOSSLESS_PACKED.replace("fuse", "fuse(device=cpu)");
    assert_eq!(passes(&["opt", "plain.ir", "--cost", "cpu"]), packed);
    assert_eq!(passes(&["opt", "plain.ir", "--cost", "l40s"]), lossless.replace("h100", "l40s"));
    assert_eq!(passes(&["opt", "reproducer.ir"]), "quantize(int8wo)");
    assert_eq!(passes(&["opt", "reproducer.ir", "--passes", "dce"]), "dce");
    assert_eq!(passes(&["opt", "reproducer.ir", "--passes", ""]), "");
}

#[test]
fn a_preview_says_what_quantization_hits() {
    let folder = tempfile::tempdir().unwrap();
    let passes = "quantize(int8dq,exclude=norm+embedding)";
    let output = succeed(folder.path(), &["opt", "flux-dev", "--preview", "--passes", passes]);
    let preview = timeless(&text(&output.stdout));
    assert!(preview.contains("419 of 504 linears quantized, 85 left"), "{preview}");
    snapshot!("cli__preview", preview);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

/// `ir --passes` and `opt` are two ways to one program, and an IR file can be told the times of its steps.
#[test]
fn passes_do_the_same_from_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = |arguments: &[&str]| text(&succeed(folder.path(), &[arguments, &TINY].concat()).stdout);
    let plain = stdout(&["ir"]);
    assert_eq!(stdout(&["ir", "--passes-only", ""]), plain);
    assert_eq!(stdout(&["opt", EMOJI, "--passes-only", ""]), plain);
    let passes = "canonicalize,cache(pab),dce";
    let cached = stdout(&["ir", "--passes-only", passes]);
    assert!(cached != plain && cached.contains("carry") && !cached.contains("gemm"), "{cached}");
    assert_eq!(stdout(&["opt", EMOJI, "--passes-only", passes]), cached);
    // On an IR file, which may be what the default passes have left, run just the passes that are asked for.
    std::fs::write(folder.path().join("plain.ir"), plain).unwrap();
    let file = succeed(folder.path(), &["opt", "plain.ir", "--model", EMOJI, "--passes", passes]);
    assert_eq!(text(&file.stdout), cached);

    let fused = stdout(&["ir", "--passes", passes]);
    assert!(fused.contains("carry") && fused.contains("gemm"), "the default passes come along: {fused}");
    assert_eq!(stdout(&["opt", EMOJI, "--passes", "cache(pab)"]), fused);

    let config = "version = 1\npasses_only = ['canonicalize', { pass = 'cache', method = 'pab' }, 'dce']";
    std::fs::write(folder.path().join("own.toml"), config).unwrap();
    assert_eq!(stdout(&["ir", "--passes-config", "own.toml"]), cached);
    std::fs::write(folder.path().join("smash_config.json"), r#"{"cacher": "pab", "pab_interval": 3}"#)
        .unwrap();
    let smashed =
        succeed(folder.path(), &[&["ir", "--passes-config", "smash_config.json"], &TINY[..]].concat());
    let notes = text(&smashed.stderr);
    assert!(notes.starts_with("note: pab: cache(pab,interval=3)\ncanonicalize | exact"), "{notes}");
    assert_eq!(text(&smashed.stdout), stdout(&["ir", "--passes", "cache(pab,interval=3)"]));
}

#[test]
fn passes_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = |arguments: &[&str]| text(&succeed(folder.path(), arguments).stdout);
    assert_eq!(stdout(&["passes"]), reflux::registry().list().to_string());
    assert_eq!(stdout(&["passes", "list"]), stdout(&["passes"]));
    assert!(stdout(&["passes", "explain", "cache"]).starts_with("cache | lossy\n"));
    let rule = stdout(&["passes", "explain", "reshape-of-reshape"]);
    assert!(rule.starts_with("reshape-of-reshape: ") && rule.contains("→"), "{rule}");
    assert!(rule.ends_with("\n  reflux passes explain canonicalize\n"), "{rule}");
}

/// Whether a rule applies is an answer either way, and about the program as the passes leave it.
#[test]
fn rules_say_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.ir"), SMALL).unwrap();
    let why = |more: &[&str]| {
        text(&succeed(folder.path(), &[&["passes", "why", "reshape-of-reshape"], more].concat()).stdout)
    };
    let before = why(&["%b", "small.ir"]);
    assert!(before.contains("\nIt applies in variant main at\n    %b = reshape %a "), "{before}");
    let model = why(&["s_attn.0", EMOJI, "--passes", "canonicalize", "--stage", "full", "--width", "32"]);
    assert!(model.contains("\nIt does not apply in variant full at\n    %s_attn.0 = reshape "), "{model}");
    assert!(model.contains("\nbecause the operand is not a reshape"), "{model}");
}
