//! The tap pass: which values become results.

use crate::common::passes::{
    self, NET, assert_settled, assert_unchanged, flux_dev_after, program, refusal, run, story, try_run_at,
};
use reflux_ir::Program;
use std::fmt::Write;

/// The results of the first variant.
fn results(program: &Program) -> Vec<String> {
    let graph = &program.variants[0];
    graph.outputs().iter().map(|output| output.label.to_string()).collect()
}

#[test]
fn values_become_results() {
    let cases: [(&str, &[&str]); 6] = [
        ("tap(hint)", &["out", "hint"]),
        ("tap(s.1)", &["out", "s.1"]),
        ("tap(s.*)", &["out", "s.0", "s.1"]),
        (
            "tap(s*)",
            &[
                "out", "step", "start", "shift.0", "scale.0", "scaled.0", "s.0", "shift.1", "scale.1",
                "scaled.1", "s.1",
            ],
        ),
        ("tap(hint),tap(end)", &["out", "hint", "end"]),
        // What is a result already stays one.
        ("tap(o*)", &["out"]),
    ];
    for (passes, expected) in cases {
        assert_eq!(results(&run(&program(NET), passes).0), expected, "{passes}");
        assert_settled(passes, &program(NET), passes);
    }
    assert_unchanged("a result", &program(NET), "tap(out)");
}

const REUSING: &str = "\
program p {
  input %x : f32[2,4] latent
  carry %h : f32[2,4] latent
  variant full (%x) -> (%y, %h) {
    %q = quantize %x {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,4]
    %h = dequantize %q {dtype=f32} : f32[2,4]
    %mid = silu %h : f32[2,4]
    %y = gelu %mid : f32[2,4]
    return %y, %h
  }
  variant reuse (%h) -> (%y) {
    %mid = silu %h : f32[2,4]
    %y = mul %mid, 2.0 : f32[2,4]
    return %y
  }
  schedule full reuse
}
";

/// Every variant gives the same results, so a value must be in all of them, and may not mean something else to the next
/// step.
#[test]
fn several_variants() {
    snapshot!("tap__variants", story(REUSING, "tap(mid)"));
    let mut text = String::new();
    for values in ["q", "h", "x", "mod", "layers.*", "*.0"] {
        writeln!(text, "# {values}\n{}\n", refusal(&program(REUSING), &format!("tap({values})"))).unwrap();
    }
    snapshot!("tap__refusals", text);
}

/// What is tapped is not carried under its name, and the other way round.
#[test]
fn tapped_values_can_be_cached() {
    let times = Some(&passes::NET_TIMES[..]);
    let (after, _) = try_run_at(&program(NET), "tap(s.*),cache(fora),dce", times).unwrap();
    assert_eq!(results(&after)[..3], ["out", "s.0", "s.1"]);
}

/// The stream behind every block, of a network in which nothing is rolled up for that.
#[test]
fn flux_dev() {
    let (program, _) = flux_dev_after("canonicalize,tap(h.*)");
    let expected: Vec<_> = (0..38).map(|block| format!("h.{block}")).collect();
    assert_eq!(results(&program)[1..], expected);
    assert!(program.to_string().contains("-> (%velocity, %h.{0..38}) {"));
}
