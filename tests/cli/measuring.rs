//! `reflux bench`, `--profile` and `--cost`

use super::{EMOJI, SMALL, TINY, files, printed, reflux, succeed, text};

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

    let single = ["--runs", "1", "--warmup", "0", "--width", "32", "--height", "32", "--steps", "1"];
    let command =
        [&["bench", "--model", EMOJI, "--device", "cpu", "--passes-only", ""], &single[..]].concat();
    let table = text(&succeed(folder.path(), &command).stdout);
    assert!(table.contains(", batch 1, 1 step, f32 on "), "{table}");
    assert!(table.contains("\npasses      none\n"), "{table}");

    let output = reflux(folder.path(), &["bench", "--config", "flux-dev", "--device", "cpu"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let message = text(&output.stderr);
    assert!(message.starts_with("error: flux-dev ") && message.contains("--random-weights"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

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
    let names =
        ["000_input.dot", "000_input.ir", "001_canonicalize.dot", "001_canonicalize.ir", "index.html"];
    assert_eq!(files(&root.join("dumps")), names.map(|name| root.join("dumps").join(name)));
}
