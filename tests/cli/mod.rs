//! The command line as a user meets it: bad input gets one clear message and exit code 1, and leaves nothing behind.

mod advice;
mod calibrate;
mod comparing;
mod compile;
mod doctor;
mod eval;
mod from_pictures;
mod generate;
mod hostile;
mod lists;
mod lora;
mod measuring;
#[cfg(unix)]
mod onnx;
mod outputs;
mod parts;
mod passes;
mod programs;
mod refusals;
mod report;
mod tune;

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

/// The message of a command that fails.
fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = reflux(folder, arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    message
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
