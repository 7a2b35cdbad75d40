//! `reflux doctor`, help and version

use super::{reflux, succeed, text};

#[test]
fn the_processor_computes_what_kernels_mean() {
    let folder = tempfile::tempdir().unwrap();
    let prove = ["doctor", "--kernels", "--device", "cpu", "--seed", "1"];
    let report = text(&succeed(folder.path(), &prove).stdout);
    let (head, cases) = report.split_once('\n').unwrap();
    let (cases, verdict) = cases.trim_end().rsplit_once('\n').unwrap();
    let count = cases.lines().count();
    assert_eq!(verdict, format!("{count} of {count} cases passed"));
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

/// Each command has its own default.
#[test]
fn help_names_the_dtype_that_is_computed_in() {
    let folder = tempfile::tempdir().unwrap();
    let help = |command: &str| text(&succeed(folder.path(), &[command, "--help"]).stdout);
    let default = |command: &str| {
        let help = help(command);
        let (_, after) = help.split_once("--dtype ").expect(&help);
        let (_, default) = after.split_once("[default: ").expect(&help);
        default.split(']').next().unwrap_or_default().to_owned()
    };
    assert_eq!(default("opt"), "bf16");
    assert_eq!(default("bisect"), "f32");
    assert_eq!(default("bench"), "f32 on the processor, bf16 on a GPU");
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
