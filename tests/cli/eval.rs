//! `reflux eval`: what an evaluation finds, what it leaves behind, and going on where it stopped.

use super::{files, reflux, refusals, succeed, text};
use crate::common::fixtures::repo;
use crate::common::passes::without_lists;
use reflux::evaluation::{Evaluation, NetworkMetric, PictureResult, Row, RowKind};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Three prompts at a size at which pictures take no time, of which one has its own seed.
const LIST: &str =
    "{\"prompt\": \"a red apple\"}\n{\"prompt\": \"an owl\", \"seed\": 7}\n{\"prompt\": \"a key\"}\n";

const ARGUMENTS: [&str; 18] = [
    "eval",
    "--config",
    "fora=cache(fora,interval=3)",
    "--config-file",
    "same=same.toml",
    "--plain-steps",
    "3",
    "--prompts",
    "list.jsonl",
    "--seed",
    "5",
    "--steps",
    "6",
    "--width",
    "32",
    "--height",
    "32",
    "--json",
];

fn lay_out(root: &Path) {
    std::fs::write(root.join("list.jsonl"), LIST).unwrap();
    std::fs::write(root.join("same.toml"), "version = 1\npasses = []\n").unwrap();
}

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&ARGUMENTS[..], &["--device", "cpu", "-o", out], more].concat()
}

fn found(root: &Path, out: &str, more: &[&str]) -> Evaluation {
    let output = succeed(root, &arguments(out, more));
    let printed: Evaluation = serde_json::from_slice(&output.stdout).unwrap();
    let written = std::fs::read(root.join(out).join("evaluation.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Evaluation>(&written).unwrap(), printed);
    printed
}

/// What does not depend on how fast the machine is.
fn timeless(rows: &[Row]) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let untimed = |picture: &PictureResult| PictureResult { seconds: 0.0, ..picture.clone() };
    let row = |row: &Row| {
        let pictures: Vec<_> = row.pictures.iter().map(untimed).collect();
        (
            row.name.clone(),
            row.kind,
            row.passes.clone(),
            row.quality,
            row.computed_steps,
            row.weight_bytes,
            pictures,
        )
    };
    rows.iter().map(row).collect()
}

#[test]
fn an_evaluation_compares_all_rows_with_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    lay_out(root);
    let Evaluation { rows, prompts, steps, width, .. } = found(root, "run", &[]);
    assert_eq!((steps, width), (6, 32));
    assert_eq!(prompts.iter().map(|prompt| prompt.seed).collect::<Vec<_>>(), [5, 7, 7]);
    let [base, fora, same, fewer] = &rows[..] else { panic!("{rows:?}") };
    let kinds = [base, fora, same, fewer].map(|row| (row.name.as_str(), row.kind, row.steps));
    assert_eq!(
        kinds,
        [
            ("base", RowKind::Base, 6),
            ("fora", RowKind::Config, 6),
            ("same", RowKind::Config, 6),
            ("base-3", RowKind::FewerSteps, 3)
        ]
    );
    assert_eq!((base.quality, base.adherence), (None, None));
    // Steps 0, 1, 2 and 5 compute.
    assert_eq!([base, fora, same, fewer].map(|row| row.computed_steps), [6.0, 4.0, 6.0, 3.0]);
    let quality = [fora, same, fewer].map(|row| row.quality.unwrap());
    let [fora_quality, same_quality, fewer_quality] = quality;
    let cosine = same_quality.trajectory_cosine.unwrap();
    let perfect =
        [same_quality.psnr.worst, same_quality.ssim.worst, same_quality.latent_l2.worst, cosine.worst];
    assert_eq!(perfect, [100.0, 1.0, 0.0, 1.0]);
    assert!(fewer_quality.trajectory_cosine.is_none());
    for quality in [fora_quality, fewer_quality] {
        assert!(quality.psnr.median < 60.0 && quality.psnr.worst <= quality.psnr.median);
        assert!(quality.ssim.median < 1.0 && quality.latent_l2.median > 0.0);
    }
    assert!(fora_quality.trajectory_cosine.unwrap().worst < 1.0);
    for row in &rows {
        assert_eq!(row.pictures.len(), 3);
        assert!(row.cold_seconds > 0.0 && row.median_seconds > 0.0 && row.p95_seconds >= row.median_seconds);
        assert_eq!(row.cold_stages[0].stage, "open");
        assert!(row.stages.iter().any(|time| time.stage == "denoise"), "{:?}", row.stages);
        assert!(row.weight_bytes > 1_000_000 && !row.graph.is_empty());
        assert!(row.pictures.iter().all(|picture| root.join("run").join(&picture.file).is_file()));
    }
    assert!(fora.passes.contains("cache(fora"), "{}", fora.passes);
    // The same pixels as `generate` draws.
    let generate = ["generate", "an owl", "--seed", "7", "--steps", "6", "--width", "32", "--height", "32"];
    succeed(root, &[&generate[..], &["--device", "cpu", "-o", "owl.png"]].concat());
    let pixels = |path: &str| reflux::Image::open(root.join(path)).unwrap().pixels().to_vec();
    assert!(pixels("owl.png") == pixels("run/pictures/base/001.png"));
}

/// However a run ends, the next one finds what the first would have.
#[test]
fn a_run_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    lay_out(root);
    let whole = found(root, "whole", &[]);
    let journal = |out: &str| root.join(out).join("journal.jsonl");
    // Killed after it has drawn some pictures.
    let mut child = Command::new(env!("CARGO_BIN_EXE_reflux"))
        .args(arguments("killed", &[]))
        .current_dir(root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let drawn = || std::fs::read_to_string(journal("killed")).unwrap_or_default().matches("sha256").count();
    while drawn() < 4 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = found(root, "killed", &["--resume"]);
    assert_eq!(timeless(&resumed.rows), timeless(&whole.rows));
    // Cut in the middle of a line; a picture and latents of the base are gone, and another picture is not what it was.
    let text_of = std::fs::read_to_string(journal("whole")).unwrap();
    std::fs::write(journal("whole"), &text_of[..text_of.len() * 2 / 3]).unwrap();
    let file = |file: &str| root.join("whole").join(file);
    std::fs::remove_file(file("pictures/base/000.png")).unwrap();
    std::fs::remove_file(file("latents/002.safetensors")).unwrap();
    std::fs::write(file("pictures/fora/001.png"), "half a pic").unwrap();
    let resumed = found(root, "whole", &["--resume"]);
    assert_eq!(timeless(&resumed.rows), timeless(&whole.rows));
    // With nothing left to do, even the times are the same.
    assert_eq!(found(root, "whole", &["--resume"]), resumed);
    // Anything else is another evaluation, and leaves this one as it is.
    let before = files(root);
    let refused = |arguments: &[&str]| {
        let output = reflux(root, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };
    let said = refused(&arguments("whole", &[]));
    assert!(said.contains("whole: the folder is not empty; add --resume"), "{said}");
    let said = refused(&arguments("whole", &["--resume", "--guidance", "2"]));
    assert!(said.contains("`guidance` is 3.5 there and 2.0 here"), "{said}");
    let said = refused(&arguments("whole", &["--resume", "--config", "more=dce"]));
    assert!(said.contains("`rows[2]` is"), "{said}");
    let said = refused(&arguments("whole", &["--resume", "--limit", "2"]));
    assert!(
        said.contains("`prompts[2]` is {\"prompt\":\"a key\",\"seed\":7} there and nothing here"),
        "{said}"
    );
    assert_eq!(files(root), before);
}

/// Numbers that cannot have been measured are not gone on with, and a folder that cannot be written is not drawn for.
#[test]
fn what_cannot_be_gone_on_with_is_refused_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    lay_out(root);
    let more = ["--limit", "1"];
    found(root, "run", &more);
    let path = root.join("run/journal.jsonl");
    let good = std::fs::read_to_string(&path).unwrap();
    let refused = |expected: &str| {
        let output = reflux(root, &arguments("run", &["--limit", "1", "--resume"]));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("is written") && !said.contains("is done"), "{said}");
    };
    let changed = |from: &str, to: &str| {
        let (before, after) = good.split_once(from).unwrap();
        let rest = after.split_once([',', '}']).unwrap().1;
        let end = &after[..after.len() - rest.len()];
        std::fs::write(&path, format!("{before}{from}{to}{}{rest}", &end[end.len() - 1..])).unwrap();
        before.matches('\n').count() + 1
    };
    for (name, value, why) in [
        ("\"psnr\":", "1e300", "result.psnr is 1e300, which is not between 0 and 100 dB"),
        ("\"seconds\":", "-1.0", "seconds is -1.0, which is not a time of 0 to 1e9 seconds"),
        ("\"computed_steps\":", "9999999999", "which is not a number of 0 to 1e6 steps"),
    ] {
        let line = changed(name, value);
        // The first PSNR is the base's, which has none.
        let line = format!("journal.jsonl: line {line} cannot be true: ");
        refused(&line);
        refused(why);
    }
    std::fs::write(&path, &good).unwrap();
    std::fs::remove_file(root.join("run/evaluation.json")).unwrap();
    std::fs::remove_dir_all(root.join("run/pictures/fora")).unwrap();
    std::fs::create_dir(root.join("run/evaluation.json")).unwrap();
    refused("cannot write run/evaluation.json: it is a folder");
    assert!(!root.join("run/pictures/fora").exists());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), good);
}

/// For the bundled model is told whether pictures show what is asked for; with how many steps the base takes as long as a config is
/// chosen once.
#[test]
fn the_bundled_prompts_say_what_they_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let run = |more: &[&str]| {
        let arguments = ["eval", "--config", "fora=cache(fora,interval=5)", "--limit", "1", "--steps", "8"];
        let output = succeed(root, &[&arguments[..], &["--device", "cpu", "-o", "run"], more].concat());
        text(&output.stdout)
    };
    let table = run(&[]);
    let json = std::fs::read_to_string(root.join("run/evaluation.json")).unwrap();
    let Evaluation { rows, .. } = serde_json::from_str(&json).unwrap();
    let adherence = rows[0].adherence.unwrap();
    assert_eq!((adherence.background, adherence.subject, adherence.size), (1.0, 1.0, 1.0));
    assert!(rows[1].adherence.is_some());
    let chosen: Vec<usize> = rows[2..].iter().map(|row| row.steps).collect();
    assert!(rows[2..].iter().all(|row| row.kind == RowKind::FewerSteps && row.steps < 8));
    let journal = std::fs::read_to_string(root.join("run/journal.jsonl")).unwrap();
    assert!(journal.contains(&format!("{{\"fewer-steps\":{}}}\n", serde_json::to_string(&chosen).unwrap())));
    assert!(table.starts_with("emoji: 1 picture of 128×128 a row, f32 on "), "{table}");
    assert!(table.contains("100/100/100 %"), "{table}");
    assert_eq!(run(&["--resume"]), table);
}

#[test]
fn evaluations_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, content) in [
        ("empty.txt", "\n\n"),
        ("wide.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"width\": 64}"),
        ("seeded.jsonl", "{\"prompt\": \"a\", \"seed\": 1}"),
        ("list.txt", "a cat\n"),
        ("notes.toml", "passes = 3\n"),
    ] {
        std::fs::write(root.join(name), content).unwrap();
    }
    std::fs::create_dir(root.join("other")).unwrap();
    std::fs::write(root.join("other/notes.txt"), "mine").unwrap();
    let eval = |more: &[&'static str]| [&["eval", "--prompts", "list.txt", "--steps", "2"], more].concat();
    let cases: Vec<Vec<&str>> = vec![
        vec!["eval"],
        eval(&["-o", "other"]),
        eval(&["-o", "other", "--resume"]),
        eval(&["-o", "list.txt"]),
        eval(&["-o", "list.txt/run"]),
        eval(&["-o", "nowhere/run"]),
        eval(&["-o", "run", "--config", "cache(fora)"]),
        eval(&["-o", "run", "--config", "../x=cache(fora)"]),
        eval(&["-o", "run", "--config", "base=dce"]),
        eval(&["-o", "run", "--config", "a=dce", "--config", "A=hoist"]),
        eval(&["-o", "run", "--config", "a=cahce(fora)"]),
        eval(&["-o", "run", "--config", "a=cache(fora,steps=11)"]),
        eval(&["-o", "run", "--config-file", "a=missing.toml"]),
        eval(&["-o", "run", "--config-file", "a=notes.toml"]),
        eval(&["-o", "run", "--plain-steps", "2"]),
        vec!["eval", "-o", "run", "--prompts", "list.txt", "--steps", "1", "--plain-steps", "1"],
        eval(&["-o", "run", "--width", "40"]),
        eval(&["-o", "run", "--limit", "0"]),
        eval(&["-o", "run", "--model", "missing"]),
        eval(&["-o", "run", "--lpips", "lpips.onnx"]),
        vec!["eval", "-o", "run", "--prompts", "empty.txt"],
        vec!["eval", "-o", "run", "--prompts", "missing.txt"],
        vec!["eval", "-o", "run", "--prompts", "wide.jsonl"],
        vec!["eval", "-o", "run", "--prompts", "seeded.jsonl", "--seed", "3"],
        vec!["eval", "-o", "run", "--prompts", "bundled", "--seed", "3"],
    ];
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    snapshot!("cli__refused_evaluations", without_lists(&refusals(root, &cases)));
}

/// Networks judge pictures, later too, and a network's file is part of what an evaluation is.
#[test]
fn networks_judge_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let fixtures = repo("tests/fixtures/metrics");
    for name in ["lpips", "arniqa", "arniqa_of_two", "image_reward"] {
        std::fs::copy(fixtures.join(name).join("model.onnx"), root.join(format!("{name}.onnx"))).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixtures.join("image_reward").join(name), root.join(name)).unwrap();
    }
    std::fs::write(root.join("list.txt"), "a red owl\na blue apple\n").unwrap();
    let eval = |more: &[&str]| {
        let drawn =
            ["eval", "-o", "run", "--prompts", "list.txt", "--steps", "2", "--width", "48", "--height", "32"];
        let rows = ["--plain-steps", "1", "--device", "cpu"];
        reflux(root, &[&drawn[..], &rows, more].concat())
    };
    let found = |output: Output| -> Evaluation {
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = found(eval(&["--json", "--lpips", "lpips.onnx", "--image-reward", "image_reward.onnx"]));
    let metrics = |row: &Row| row.scores.keys().copied().collect::<Vec<_>>();
    let [base, fewer] = &first.rows[..] else { panic!("{first:?}") };
    // The base has nothing that it could be compared with.
    assert_eq!(metrics(base), [NetworkMetric::ImageReward]);
    assert_eq!(metrics(fewer), [NetworkMetric::Lpips, NetworkMetric::ImageReward]);
    let lpips = fewer.scores[&NetworkMetric::Lpips];
    assert!(lpips.median > 0.0 && lpips.worst >= lpips.median && lpips.worst < 1.0, "{lpips:?}");
    // Pictures and what was said of them stay, and another network can be asked.
    let more = found(eval(&["--json", "--resume", "--arniqa", "arniqa.onnx"]));
    assert_eq!(metrics(&more.rows[0]), [NetworkMetric::Arniqa, NetworkMetric::ImageReward]);
    assert_eq!(more.rows[1].scores[&NetworkMetric::Lpips], lpips);
    assert_eq!(more.networks.len(), 3);
    let table = text(&eval(&["--resume"]).stdout);
    let heading = table.lines().nth(1).unwrap();
    assert!(heading.contains("latents  LPIPS  ARNIQA  ImageReward  adherence"), "{table}");
    let other = eval(&["--resume", "--arniqa", "arniqa_of_two.onnx"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("another network, or one"), "{}", text(&other.stderr));
    std::fs::remove_file(root.join("tokenizer.json")).unwrap();
    let cases: [&[&str]; 5] = [
        &["--lpips", "arniqa.onnx"],
        &["--arniqa", "list.txt"],
        &["--clip-score", "lpips.onnx"],
        &["--image-reward", "image_reward.onnx"],
        &["--lpips", "missing.onnx"],
    ];
    let drawn =
        ["eval", "-o", "other", "--prompts", "list.txt", "--steps", "1", "--width", "48", "--height", "32"];
    let cases: Vec<Vec<&str>> = cases.iter().map(|case| [&drawn[..], case].concat()).collect();
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    snapshot!("cli__refused_networks", refusals(root, &cases));
    assert!(!root.join("other").exists(), "nothing was drawn");
}
