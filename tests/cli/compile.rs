//! `reflux compile`, and commands on what it writes.

use super::{EMOJI, files, refusals, succeed, text, timeless};
use std::fs;
use std::path::Path;

const SIZE: [&str; 6] = ["--size", "64x32", "--steps", "5", "--device", "cpu"];

/// The bundled model compiled to `out`.
fn compile(root: &Path, more: &[&str]) -> String {
    let arguments = [&["compile", "--model", EMOJI, "-o", "out"], &SIZE[..], more].concat();
    text(&succeed(root, &arguments).stdout)
}

#[test]
fn a_compiled_model_draws_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let passes = ["--passes", "quantize(int8dq),cache(fora,interval=2)"];
    let report = compile(root, &passes);
    snapshot!("cli__compile", timeless(&report));
    let draw = |more: &[&str], out: &str| {
        let sizes = ["--width", "64", "--height", "32", "--steps", "5", "--device", "cpu", "-o", out];
        text(&succeed(root, &[&["generate", "owl"], &sizes[..], more].concat()).stderr)
    };
    draw(&[&["--model", EMOJI], &passes[..]].concat(), "a.png");
    let said = draw(&["--model", "out"], "b.png");
    assert!(!said.contains("warning"), "{said}");
    let picture = |name: &str| reflux::Image::open(root.join(name)).unwrap();
    assert_eq!(picture("a.png").pixels(), picture("b.png").pixels());
    // Its own sizes are the default, and the text in the picture says what made it.
    text(&succeed(root, &["generate", "owl", "--model", "out", "--device", "cpu", "-o", "c.png"]).stderr);
    let [b, c] = ["b.png", "c.png"].map(|name| fs::read(root.join(name)).unwrap());
    assert_eq!(b, c);
    let b = String::from_utf8_lossy(&b).into_owned();
    assert!(b.contains("cache(fora,interval=2)"), "{b}");
    // It is drawn again from what the picture says.
    text(
        &succeed(
            root,
            &["generate", "--from-png", "b.png", "--model", "out", "--device", "cpu", "-o", "d.png"],
        )
        .stderr,
    );
    assert_eq!(picture("d.png").pixels(), picture("b.png").pixels());
    let bench = ["bench", "--model", "out", "--device", "cpu", "--runs", "1", "--warmup", "0"];
    let measured = text(&succeed(root, &bench).stdout);
    assert!(measured.contains("cache(fora,interval=2)") && !measured.contains("note"), "{measured}");
    let measured = text(&succeed(root, &[&bench[..], &["--image"]].concat()).stdout);
    assert!(measured.contains("cache(fora,interval=2)") && !measured.contains("note"), "{measured}");
    let measured = text(&succeed(root, &[&bench[..], &["--steps", "6"]].concat()).stdout);
    assert!(measured.contains("is compiled for 64×32, 5 steps"), "{measured}");
    succeed(root, &["compile", "--model", "out", "--verify"]);
}

/// What is compared with a model that is optimized already is not compared with the model.
#[test]
fn an_evaluation_says_that_its_base_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    compile(root, &["--passes", "quantize(int8dq)"]);
    let eval = ["eval", "--model", "out", "--prompts", "drawbench", "--limit", "1", "--plain-steps", "2"];
    let output = succeed(root, &[&eval[..], &["--device", "cpu", "-o", "run"]].concat());
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert!(table.contains("\nbase (compiled: quantize(int8dq))  "), "{table}");
    assert!(said.contains("already optimized"), "{said}");
    let report = text(&succeed(root, &["report", "run", "--markdown", "-"]).stdout);
    assert!(report.contains("base (compiled: quantize(int8dq))"), "{report}");
    // Without lossy passes there is nothing to say.
    fs::remove_dir_all(root.join("out")).unwrap();
    compile(root, &[]);
    let output = succeed(root, &[&eval[..], &["--device", "cpu", "-o", "plain"]].concat());
    assert!(text(&output.stdout).contains("\nbase "), "{}", text(&output.stdout));
    assert!(!text(&output.stderr).contains("optimized"), "{}", text(&output.stderr));
}

#[test]
fn sizes_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    compile(root, &[]);
    let more = [
        "compile", "--model", "out", "--size", "32x32", "--size", "64x32", "--steps", "5", "--device", "cpu",
    ];
    let report = text(&succeed(root, &more).stdout);
    let programs: Vec<&str> = report.lines().filter(|line| line.starts_with("program")).collect();
    assert_eq!(programs.len(), 2, "{report}");
    assert!(programs[0].contains("32×32, 5 steps") && programs[1].contains("there already"), "{report}");
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    compile(root, &[]);
    fs::create_dir(root.join("taken")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    let emoji = |more: &[&'static str]| [&["compile", "--model", EMOJI][..], more].concat();
    let cases = [
        emoji(&[]),
        emoji(&["-o", "taken"]),
        emoji(&["-o", "file"]),
        emoji(&["-o", "nowhere/out"]),
        emoji(&["-o", "out", "--passes", "quantize(int8dq)", "--device", "cpu"]),
        emoji(&["-o", "new", "--size", "64x33"]),
        emoji(&["-o", "new", "--size", "64x32", "--width", "64"]),
        emoji(&["-o", "new", "--passes", "cache(fora,interval=9)"]),
        emoji(&["-o", "new", "--batch", "129"]),
        emoji(&["-o", "new", "--batch", "1000000000000000000"]),
        emoji(&["-o", "new", "--max-sequence-length", "4097"]),
        emoji(&["-o", "new", "--width", "1000000000000000000"]),
        emoji(&["-o", "new", "--size", "64x65552"]),
        emoji(&["--verify"]),
        vec!["compile", "--model", "out", "-o", "other"],
        vec!["compile", "--model", "out", "--denoiser-only"],
        vec!["compile", "--model", "out", "--verify", "--steps", "3"],
        vec!["generate", "owl", "--model", "out", "--passes", "quantize(int8dq)"],
        vec!["generate", "owl", "--model", "out", "--dump-dir", "d"],
        vec!["generate", "owl", "--model", "out", "--dtype", "bf16"],
        vec!["ir", "--model", "out"],
        vec!["opt", "out", "--passes", "dce"],
        vec!["passes", "why", "dce", "%h", "out"],
        vec!["bisect", "out", "--passes", "dce"],
        vec!["bench", "--model", "out", "--random-weights"],
        vec!["calibrate", "teacache", "--model", "out"],
        vec!["tune", "an owl", "--budget", "0.5", "--model", "out"],
        vec!["bench", "--model", "out", "--passes", "quantize(int8dq)", "--device", "cpu"],
    ];
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    let report = refusals(root, &cases).replace(EMOJI, "EMOJI");
    snapshot!("cli__compile_refusals", report);
    // What is not the transformer is a network as any other.
    succeed(root, &["ir", "--model", "out", "--net", "clip"]);
}

/// Where it is stopped, or the disk is full, nothing stays behind.
#[cfg(unix)]
#[test]
fn nothing_half_written_stays() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let limited = "ulimit -f 2000; exec \"$0\" \"$@\"";
    let arguments = [&["compile", "--model", EMOJI, "-o", "out"], &SIZE[..]].concat();
    let reflux = env!("CARGO_BIN_EXE_reflux");
    let run =
        Command::new("sh").args(["-c", limited, reflux]).args(&arguments).current_dir(root).output().unwrap();
    let message = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write out/") && message.contains("file size limit"), "{message}");
    assert_eq!(files(root), [""; 0].map(std::path::PathBuf::from));
    // Interrupted while it writes.
    let mut child = Command::new(reflux)
        .args(&arguments)
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while files(root).is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let status = child.wait().unwrap();
    let is_whole = root.join("out/reflux/manifest.json").exists();
    assert!(
        status.success() == is_whole && (is_whole || files(root).is_empty()),
        "{status}: {:?}",
        files(root)
    );
}
