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

/// Runs reflux in `folder`, where it must succeed.
fn succeed(folder: &Path, arguments: &[&str]) -> Output {
    let output = reflux(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
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

/// Runs each of `cases`, which must be refused and leave nothing behind, and gives the messages.
fn refusals(root: &Path, cases: &[&[&str]]) -> String {
    let before = files(root);
    let mut report = String::new();
    for case in cases {
        let device: &[&str] = if ["generate", "run"].contains(&case[0]) { &["--device", "cpu"] } else { &[] };
        let output = reflux(root, &[case, device].concat());
        let message = text(&output.stderr);
        writeln!(report, "$ reflux {}\n{}", case.join(" "), message.trim_end()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{case:?}: {message}");
        assert!(!message.contains("panicked") && !message.contains("Reflux itself"), "{case:?}: {message}");
        assert_eq!(text(&output.stdout), "", "{case:?}");
        assert_eq!(files(root), before, "{case:?} left something behind");
    }
    report
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
    let report = refusals(root, cases).replace(prompt, "PROMPT");
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

#[test]
fn whole_pictures_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let command =
        ["bench", "--image", "--model", EMOJI, "--device", "cpu", "--runs", "2", "--memory", "low", "--json"];
    let output = succeed(folder.path(), &[&command, &TINY[..]].concat());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages = |list: &str| -> Vec<String> {
        let stages = json[list].as_array().unwrap().iter();
        stages.map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect()
    };
    // The transformer and the decoder stay; the others are loaded for every picture.
    for stage in ["load text_encoder", "encode with T5", "load transformer", "denoise", "decode"] {
        assert!(stages("cold_stages").iter().any(|known| known == stage), "{json:#}");
    }
    assert!(stages("stages").iter().any(|known| known == "load text_encoder_2"), "{json:#}");
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{json:#}"));
    let seconds: f64 =
        json["stages"].as_array().unwrap().iter().map(|stage| stage["seconds"].as_f64().unwrap()).sum();
    assert!(0.0 < seconds && number("median_ms") <= number("p95_ms") && number("planned_bytes") > 0.0);

    let output = reflux(folder.path(), &["bench", "--image", "--net", "vae"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn pictures_are_the_same_whatever_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |memory: &str| {
        let command =
            ["generate", "a red apple", "an owl", "--device", "cpu", "--model", EMOJI, "--memory", memory];
        let name = format!("{memory}.safetensors");
        succeed(folder.path(), &[&command[..], &TINY, &["--save-latents", &name]].concat());
        std::fs::read(folder.path().join(name)).unwrap()
    };
    assert_eq!(draw("low"), draw("resident"));
}

#[test]
fn steps_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |more: &[&str]| {
        let small = ["bench", "--model", EMOJI, "--device", "cpu", "--runs", "3", "--warmup", "0"];
        succeed(folder.path(), &[&small, &TINY[..], more].concat())
    };
    let passes = ["--passes", "cache(fora,interval=3)"];
    let output = bench(&[&["--json", "--profile"], &passes[..]].concat());
    assert!(text(&output.stderr).contains("planned peak memory: "), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["steps"], &json["runs"], &json["width"]), (&6.into(), &3.into(), &32.into()));
    assert!(json["dtype"] == "f32" && json["machine"] == "cpu" && json["fallbacks"].as_array().is_some());
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{json:#}"));
    let variants = json["variants"].as_array().unwrap();
    let names: Vec<_> = variants.iter().map(|variant| variant["variant"].as_str().unwrap()).collect();
    assert_eq!(names, ["full", "reuse"]);
    assert_eq!(variants.iter().map(|variant| number(&variant["steps"])).sum::<f64>(), 6.0);
    let mut seconds = 0.0;
    for variant in variants {
        let (median, flop) = (number(&variant["median_ms"]), number(&variant["flop"]));
        assert!(0.0 < median && median <= number(&variant["p95_ms"]), "{json:#}");
        assert!((number(&variant["tflops_per_second"]) * median * 1e9 / flop - 1.0).abs() < 1e-6);
        let percent = 100.0 * number(&variant["floor_ms"]) / median;
        assert!((number(&variant["percent_of_floor"]) / percent - 1.0).abs() < 1e-6);
        seconds += number(&variant["steps"]) * median / 1e3;
    }
    assert!((number(&json["denoise_seconds"]) / seconds - 1.0).abs() < 1e-6);
    // Reusing is what caches are for.
    assert!(number(&variants[1]["flop"]) < number(&variants[0]["flop"]));
    let start = number(&json["load_seconds"]) + number(&json["first_step_ms"]) / 1e3;
    assert!(number(&json["cold_start_seconds"]) >= start + number(&json["optimize_seconds"]));
    assert!(number(&json["planned_bytes"]) > 0.0);
    assert!(!cfg!(target_os = "linux") || number(&json["peak_bytes"]) > 0.0);
    let slowest = &json["profile"]["slowest"];
    let stages = |list: &str| -> Vec<String> {
        let rows = slowest[list].as_array().unwrap().iter();
        rows.map(|row| row["stage"].as_str().unwrap().to_owned()).collect()
    };
    assert!(stages("steps").iter().all(|stage| stage.starts_with("variant ")));
    assert!(stages("before_the_first_step").iter().all(|stage| stage.starts_with("prepare ")));
    // The whole schedule is profiled: a block's products run in every full step.
    let full = number(&variants[0]["steps"]);
    let rows = slowest["steps"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["op"] == "gemm" && number(&row["calls"]) >= full));

    let table = text(&bench(&["--random-weights"]).stdout);
    let row = table.lines().find(|line| line.starts_with("full ")).unwrap_or_else(|| panic!("{table}"));
    assert_eq!(row.split_whitespace().nth(1), Some("6"), "{table}");
    assert!(table.contains("cold start  ") && table.contains("; floor on cpu: "), "{table}");

    let output = reflux(folder.path(), &["bench", "--config", "flux-dev", "--device", "cpu"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let message = text(&output.stderr);
    assert!(message.starts_with("error: flux-dev ") && message.contains("--random-weights"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

/// A program with something to do for most passes.
const SMALL: &str = "program small {
  input %x : f32[4,64] latent
  variant main (%x) -> (%y) {
    %a = reshape %x {shape=[2, 2, 64]} : f32[2,2,64]
    %b = reshape %a {shape=[4, 64]} : f32[4,64]
    %h = linear %b, @.weight f32[64,64], @.bias f32[64] : f32[4,64] in up
    %unused = gelu_tanh %h : f32[4,64]
    %act = silu %h : f32[4,64]
    %y = linear %act, @.weight f32[64,64] : f32[4,64] in down
    return %y
  }
  schedule main*3
}
";

/// The report without the times that passes took.
fn timeless(report: &str) -> String {
    let time = |part: &str| part.ends_with(" ms");
    let line = |line: &str| line.split(" | ").filter(|part| !time(part)).collect::<Vec<_>>().join(" | ");
    report.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Programs are compared as they print, without comments.
fn printed(source: &str) -> String {
    reflux::ir::text::parse(source).unwrap().to_string()
}

const EMOJI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/emoji");
const TINY: [&str; 6] = ["--width", "32", "--height", "32", "--steps", "6"];

#[test]
fn profiles_keep_steps_and_what_is_before_them_apart() {
    let folder = tempfile::tempdir().unwrap();
    let program = "program p {
      input %x : f32[4,8] latent
      input %t : f32[4,8] prompt
      prepare prompt (%t) -> (%s) {
        %s = silu %t : f32[4,8]
        return %s
      }
      variant main (%x, %s) -> (%y) {
        %h.0 = linear %x, @blocks.0.weight f32[8,8] : f32[4,8] in blocks.0
        %h.1 = linear %h.0, @blocks.1.weight f32[8,8] : f32[4,8] in blocks.1
        %y = add %h.1, %s : f32[4,8]
        return %y
      }
      schedule main*3
    }";
    std::fs::write(folder.path().join("p.ir"), program).unwrap();
    let run = ["run", "p.ir", "--random", "1", "--device", "cpu", "--profile"];
    let report = text(&succeed(folder.path(), &run).stdout);
    let (steps, before) = report.split_once("before the first step").unwrap();
    // Blocks that are alike are one row.
    assert!(
        steps.contains(" 6× ") && steps.contains("linear %h.{i} in blocks.{i} (variant main)"),
        "{report}"
    );
    assert!(steps.contains("add %y (variant main)") && !steps.contains("silu"), "{report}");
    assert!(before.contains(" 1× ") && before.contains("silu %s (prepare prompt)"), "{report}");
    assert!(!before.contains("main"), "{report}");
}

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
    for path in files(&dumps) {
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
fn pictures_are_made_with_passes() {
    let folder = tempfile::tempdir().unwrap();
    let generate = ["generate", "owl", "--device", "cpu", "--json"];
    let passes = ["--passes", "cache(fora)", "--dump-dir", "dumps"];
    let output = succeed(folder.path(), &[&generate[..], &TINY, &passes].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["passes"][3]["pass"], "cache(fora,interval=2,steps=111010)");
    let said = text(&output.stderr);
    let line = "cache(fora,interval=2,steps=111010) | lossy | ";
    assert!(
        said.lines().any(|said| said.starts_with(line) && said.contains("; 4 of 6 steps compute")),
        "{said}"
    );
    assert!(folder.path().join("dumps/004_cache.ir").is_file());
    // Nothing is said of passes that nobody asked for, but where all is told.
    let output = succeed(folder.path(), &[&generate[..], &TINY].concat());
    assert_eq!(text(&output.stderr), "");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["passes"].as_array().unwrap().len(), reflux::passes::LOSSLESS_CPU.split(',').count());
}

#[test]
fn bad_passes_are_one_message_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write("small.ir", SMALL);
    write("bad.ir", "program p {\n  variant main () -> () {\n    %x = linaer\n");
    write("header.ir", &format!("// passes: dec\n{SMALL}"));
    write("notes.txt", "no passes");
    write("empty.json", "{}");
    write("version.toml", "version = 2\npasses = 'dce'");
    write("key.toml", "version = 1\npasses = 'dce'\npases = 'dce'");
    write("passes.toml", "version = 1\npasses = ['dce', { method = 'fora' }]");
    write("option.toml", "version = 1\npasses = [{ pass = 'cache', method = 'fora', intervall = 3 }]");
    write("smash.json", r#"{"cacher": "fora", "fora_intervall": 3}"#);
    write("int4dq.json", r#"{"torchao": {"quant_type": "int4dq"}}"#);
    succeed(root, &[&["ir", "--out", "flux.ir"], &TINY[..]].concat());
    let cases: &[&[&str]] = &[
        &["opt"],
        &["opt", "missing.ir"],
        &["opt", "flux-dve"],
        &["opt", "bad.ir"],
        &["opt", "."],
        &["opt", "header.ir"],
        &["opt", "small.ir", "--out", "nowhere/out.ir"],
        &["opt", "small.ir", "--out", "."],
        &["opt", "small.ir", "--dump-dir", "notes.txt"],
        &["opt", "small.ir", "--dump-dir", "notes.txt/dumps"],
        &["opt", "small.ir", "--preview", "--out", "out.ir"],
        &["opt", "small.ir", "--width", "32"],
        &["opt", "small.ir", "--config", "flux-dev"],
        &["opt", "flux-dev", "--config", "flux-dev"],
        &["opt", "flux-dev", "--width", "33"],
        &["opt", "flux-dev", "--steps", "1001"],
        &["opt", "small.ir", "--passes", "canonicalise"],
        &["opt", "small.ir", "--passes", "canonicalize,,dce"],
        &["opt", "small.ir", "--passes", "cache(fora,interval=9)"],
        &["opt", "small.ir", "--passes", "cache(flora)"],
        &["opt", "small.ir", "--passes", "quantize(int8dq,exlude=norm)"],
        &["opt", "small.ir", "--passes", "quantize(int8dq,skip=[up,x_embedder])"],
        &["opt", "small.ir", "--passes", "cache(fora)"],
        &["opt", "flux.ir", "--passes", "cache(pab),hoist,cache(fora)"],
        &["opt", "flux.ir", "--passes", "cache(pab)"],
        &["opt", "small.ir", "--passes", "dce", "--passes-config", "version.toml"],
        &["opt", "small.ir", "--passes-config", "missing.toml"],
        &["opt", "small.ir", "--passes-config", "notes.txt"],
        &["opt", "small.ir", "--passes-config", "empty.json"],
        &["opt", "small.ir", "--passes-config", "version.toml"],
        &["opt", "small.ir", "--passes-config", "key.toml"],
        &["opt", "small.ir", "--passes-config", "passes.toml"],
        &["opt", "small.ir", "--passes-config", "option.toml"],
        &["opt", "small.ir", "--passes-config", "smash.json"],
        &["opt", "small.ir", "--passes-config", "int4dq.json"],
        &["opt", "small.ir", "--print-after", "dcee"],
        &["opt", "small.ir", "--print-before", "quantize"],
        &["opt", "small.ir", "--stop-after", "all"],
        &["ir", "--passes", "canonicalise"],
        &["ir", "--print-after", "dce"],
        &["ir", "--net", "vae", "--passes", "quantize(skip=conv_in)"],
        &["generate", "owl", "--passes", "canonicalise"],
        &["generate", "owl", "--passes", "cache(fora),cache(fora)"],
        &["generate", "owl", "--dump-dir", "notes.txt"],
        &["opt", "small.ir", "--cost", "tpu"],
        &["opt", "small.ir", "--dump-format", "dot"],
        &["passes", "dce"],
        &["passes", "explain"],
        &["passes", "explain", "cashe"],
        &["passes", "why", "cse", "y"],
        &["passes", "why", "csee", "y", "small.ir"],
        &["passes", "why", "unread-op", "y", "small.ir"],
        &["passes", "why", "cse", "z", "small.ir"],
        &["passes", "why", "cse", "s_attn", "flux.ir"],
        &["passes", "why", "cse", "y", "small.ir", "--stage", "full"],
        &["passes", "why", "cse", "y", "small.ir", "--passes", "canonicalise"],
        &["passes", "why", "cse", "y", "small.ir", "--width", "32"],
        &["ir", "diff", "small.ir"],
        &["ir", "diff", "small.ir", "missing.ir"],
        &["ir", "diff", "bad.ir", "small.ir"],
        &["ir", "diff", "small.ir", "small.ir", "--passes-b", "cache(fora)"],
        &["ir", "diff", "small.ir", "small.ir", "--passes-a", "canonicalise"],
        &["ir", "diff", "small.ir", "small.ir", "--width", "32"],
        &["ir", "diff", "flux-dev", "flux-dev", "--width", "33"],
        &["ir", "--costs", "diff", "small.ir", "small.ir"],
    ];
    snapshot!("cli__bad_passes", refusals(root, cases));
}

#[test]
fn passes_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = |arguments: &[&str]| text(&succeed(folder.path(), arguments).stdout);
    snapshot!("cli__passes", stdout(&["passes"]));
    assert_eq!(stdout(&["passes", "list"]), stdout(&["passes"]));
    assert!(stdout(&["passes", "explain", "cache"]).starts_with("cache | lossy\n"));
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
    assert!(model.contains("\nbecause the operand is no reshape"), "{model}");
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

#[test]
fn times_are_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("small.ir"), SMALL).unwrap();
    let stdout = |arguments: &[&str]| text(&succeed(root, arguments).stdout);
    let opt = ["opt", "small.ir", "--passes", "canonicalize,dce", "--preview", "--rules", "--cost", "cpu"];
    let report = stdout(&opt);
    let first = report.lines().next().unwrap();
    assert!(first.starts_with("canonicalize | exact | 6 → 4 ops | 0.0 → 0.0 ms | "), "{report}");
    let row = report.lines().find(|line| line.starts_with("  reshape-of-reshape ")).unwrap();
    assert_eq!(row.split_whitespace().count(), 4, "{report}");
    let json = succeed(root, &["opt", "small.ir", "--json", "--cost", "h100"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let estimate = &json["passes"][0]["estimate"];
    assert!(estimate["machine"] == "h100" && estimate["after"].as_u64() <= estimate["before"].as_u64());

    let ir = |more: &[&str]| stdout(&[&["ir", "--cost", "l40s"], &TINY[..], more].concat());
    let costs = ir(&["--costs"]);
    assert!(costs.contains("    // total: ") && costs.contains(" on l40s\n}"), "{costs}");
    assert_eq!(printed(&costs), ir(&[]));
    assert!(ir(&["--export", "dot"]).contains("fillcolor=\"#e8590c\""));
    assert!(ir(&["--export", "json"]).contains("\"key\": \"ns\""));
    assert_ne!(ir(&["--export", "costs"]), stdout(&[&["ir", "--export", "costs"], &TINY[..]].concat()));

    let dumps = ["--dump-dir", "dumps", "--dump-format", "dot", "--dump-format", "ir"];
    succeed(root, &[&["opt", "small.ir", "--passes", "canonicalize"], &dumps[..]].concat());
    let names = ["000_input.dot", "000_input.ir", "001_canonicalize.dot", "001_canonicalize.ir"];
    assert_eq!(files(&root.join("dumps")), names.map(|name| root.join("dumps").join(name)));
}

#[test]
fn the_processor_computes_what_kernels_mean() {
    let folder = tempfile::tempdir().unwrap();
    let prove = ["doctor", "--kernels", "--device", "cpu", "--seed", "1"];
    let report = text(&succeed(folder.path(), &prove).stdout);
    let (head, cases) = report.split_once('\n').unwrap();
    assert!(head.starts_with("kernels of cpu (") && head.contains(", seed 1: "), "{report}");
    assert!(cases.lines().count() > 100 && cases.lines().all(|line| line.starts_with("✓ ")), "{report}");
    for kind in ["norm", "rope", "gemm", "segments", "int8", "attention", "select"] {
        for dtype in ["f32", "bf16"] {
            let is_case =
                |line: &str| line.starts_with(&format!("✓ {kind}.")) && line.contains(&format!(" {dtype}: "));
            assert!(cases.lines().any(is_case), "{kind} in {dtype}: {report}");
        }
    }
    // Rounding shows: what is compared is not the same run twice.
    assert!(cases.lines().any(|line| line.contains(" bf16: ") && !line.contains(" bf16: 0.0e0")), "{report}");
    assert_eq!(reflux(folder.path(), &["doctor", "--seed", "1"]).status.code(), Some(1));
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
