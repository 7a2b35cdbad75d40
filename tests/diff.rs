//! What differs between programs, as a reader sees it.

use crate::common::passes::{NET, flux_dev, flux_dev_after, program, run};
use reflux_ir::{DiffLayout, DiffOptions, Program, ProgramDiff, ValueCounts};
use std::fmt::Write;

/// A block that is there twice, in one module; another stage.
const SMALL: &str = "
program small {
  input %x : bf16[4,64] latent
  input %words : bf16[4,64] prompt
  prepare prompt (%words) -> (%hint) {
    %hint = linear %words, @.weight bf16[64,64] : bf16[4,64] in embed
    return %hint
  }
  variant main (%x, %hint) -> (%y) {
    %start = add %x, %hint : bf16[4,64]
    repeat %i in 0..2 (%h.prev = %start) in blocks.{i} {
      %norm = layer_norm %h.prev {eps=1e-6} : bf16[4,64] in .norm
      %up = linear %norm, @.weight bf16[64,64], @.bias bf16[64] : bf16[4,64] in .up
      %act = silu %up : bf16[4,64]
      %down = linear %act, @.weight bf16[64,64] : bf16[4,64] in .down
      %h = add %h.prev, %down : bf16[4,64]
      yield %h
    }
    %y = layer_norm %h.1 {eps=1e-6} : bf16[4,64] in norm
    return %y
  }
  schedule main*4
}
";

fn diff(a: &Program, b: &Program) -> ProgramDiff {
    ProgramDiff::new(["before", "after"], [a, b])
}

fn count(diff: &ProgramDiff) -> Vec<(String, ValueCounts)> {
    diff.counts().map(|(stage, counts)| (stage.to_string(), counts)).collect()
}

#[test]
fn a_program_does_not_differ_from_itself() {
    for program in [program(SMALL), program(NET), flux_dev(256, 4)] {
        let diff = diff(&program, &program.clone());
        assert!(diff.is_empty() && count(&diff).is_empty());
        assert_eq!(diff.to_string(), "before and after are the same program\n");
        let layout = DiffLayout::SideBySide { width: 80 };
        let beside = diff.display(DiffOptions { layout, ..DiffOptions::default() }).to_string();
        assert_eq!(beside, diff.to_string());
    }
}

/// `SMALL` with each of `edits`, all of which must be found.
fn edited(edits: &[(&str, &str)]) -> Program {
    let edit = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    program(&edits.iter().fold(SMALL.to_owned(), edit))
}

/// What is compared is values by their names: a changed line stands beside the line that it was, in its block; what is
/// equal is left out, but for the lines around and the first of the block and the stage.
#[test]
fn values_are_compared_by_name() {
    let cases = [
        ("an attribute, in a block", vec![("%h.prev {eps=1e-6}", "%h.prev {eps=1e-5}")]),
        (
            "an op, and an operand more",
            vec![
                ("%act = silu", "%act = gelu"),
                ("linear %act, @.weight bf16[64,64]", "linear %act, @.weight bf16[64,64], @.bias bf16[64]"),
            ],
        ),
        (
            "a value more, another input, more steps",
            vec![
                (
                    "    %y = layer_norm %h.1",
                    "    %end = mul %h.1, 2.0 : bf16[4,64]\n    %y = layer_norm %end",
                ),
                ("  prepare", "  input %scale : bf16[64] prompt\n  prepare"),
                ("main*4", "main*8"),
            ],
        ),
        ("a block less", vec![("0..2", "0..1"), ("%h.1", "%h.0")]),
        (
            "a stage less",
            vec![
                ("  prepare prompt (%words) -> (%hint) {\n", ""),
                ("    return %hint\n  }\n  variant main (%x, %hint) -> (%y) {\n", ""),
                ("    %hint =", "  variant main (%x, %words) -> (%y) {\n    %hint ="),
            ],
        ),
        ("another name of the program", vec![("program small", "program tiny")]),
    ];
    let mut text = String::new();
    for (case, edits) in cases {
        let diff = diff(&program(SMALL), &edited(&edits));
        assert!(!diff.is_empty(), "{case}");
        write!(text, "# {case}\n{diff}\n").unwrap();
    }
    snapshot!("diff__values", text);
}

/// Values count by themselves, those of repeated blocks in every round.
#[test]
fn counts() {
    let after = edited(&[("%act = silu", "%act = gelu"), ("%norm", "%n"), ("  schedule", "  schedule main")]);
    let counts = count(&diff(&program(SMALL), &after));
    // The new names, and what reads them.
    assert_eq!(
        counts,
        [(
            "variant main".to_owned(),
            ValueCounts { added: 2, removed: 2, changed: 4, ..ValueCounts::default() }
        )]
    );
    let [(_, back)] = &count(&diff(&after, &program(SMALL)))[..] else { panic!("{counts:?}") };
    assert_eq!((back.added, back.removed, back.changed), (2, 2, 4));
}

/// A value that another stage computes, or that stands elsewhere in its own, is moved, not removed and added.
#[test]
fn what_moves_is_no_removal() {
    let line = "    %norm0 = layer_norm %words {eps=1e-6} : bf16[4,64]\n";
    let (from, to) = ("    %start = add", "    %hint = linear");
    let inside = edited(&[
        (from, &format!("{line}    %both = add %norm0, %x : bf16[4,64]\n{from}")),
        ("%x, %hint : bf16[4,64]", "%both, %hint : bf16[4,64]"),
        ("variant main (%x, %hint)", "variant main (%x, %words, %hint)"),
    ]);
    let outside = edited(&[
        (to, &format!("{line}{to}")),
        (from, &format!("    %both = add %norm0, %x : bf16[4,64]\n{from}")),
        ("%x, %hint : bf16[4,64]", "%both, %hint : bf16[4,64]"),
        ("return %hint", "return %hint, %norm0"),
        ("-> (%hint)", "-> (%hint, %norm0)"),
        ("variant main (%x, %hint)", "variant main (%x, %hint, %norm0)"),
    ]);
    let moved = diff(&inside, &outside);
    let counts = count(&moved);
    let [(_, prepare), (_, main)] = &counts[..] else { panic!("{counts:?}") };
    assert_eq!(*prepare, ValueCounts { moved_in: 1, ..ValueCounts::default() });
    assert_eq!(*main, ValueCounts { moved_out: 1, ..ValueCounts::default() });
    let layout = DiffLayout::SideBySide { width: 120 };
    let beside = moved.display(DiffOptions { layout, ..DiffOptions::default() }).to_string();
    // The same value further down, and changed on the way.
    let two = "    %end = mul %h.1, 2.0 : bf16[4,64]\n    %other = mul %x, 3.0 : bf16[4,64]\n";
    let (a, b) = two.split_at(two.find("    %other").unwrap());
    let tail = "    %y = layer_norm %h.1 {eps=1e-6} : bf16[4,64] in norm\n    return %y\n";
    let sum = "    %sum = add %end, %other : bf16[4,64]\n    %y = add %h.1, %sum : bf16[4,64] in norm\n    return %y\n";
    let order = |first: &str, second: &str| edited(&[(tail, &format!("{first}{second}{sum}"))]);
    let within = diff(&order(a, b), &order(&b.replace("3.0", "4.0"), a));
    assert!(within.counts().all(|(_, counts)| counts.moved_in + counts.moved_out == 0));
    snapshot!("diff__moves", format!("{moved}\n{beside}\n{within}"));
}

#[test]
fn beside_each_other() {
    let after = edited(&[
        ("%h.prev {eps=1e-6}", "%h.prev {eps=1e-5}"),
        ("    %y = layer_norm %h.1", "    %end = mul %h.1, 2.0 : bf16[4,64]\n    %y = layer_norm %end"),
        ("(%x, %hint)", "(%hint, %x)"),
    ]);
    let diff = diff(&program(SMALL), &after);
    let options = |width| DiffOptions { layout: DiffLayout::SideBySide { width }, ..DiffOptions::default() };
    snapshot!("diff__beside", diff.display(options(120)).to_string());
    for width in [0, 1, 41, 60, 1000] {
        let text = diff.display(options(width)).to_string();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        // Columns have 20 characters at least.
        assert!(widest <= width.max(43), "{width}: {text}");
    }
}

/// Colours are around whole lines and change nothing else.
#[test]
fn colours() {
    let diff = diff(&program(SMALL), &edited(&[("%act = silu", "%act = gelu")]));
    for layout in [DiffLayout::Unified, DiffLayout::SideBySide { width: 100 }] {
        let text = |colour| diff.display(DiffOptions { layout, colour, context: 1 }).to_string();
        let (plain, coloured) = (text(false), text(true));
        assert!(coloured.contains("\u{1b}[31m") && coloured.contains("\u{1b}[32m"), "{coloured}");
        let bare = ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[90m", "\u{1b}[0m"].iter();
        assert_eq!(bare.fold(coloured, |text, code| text.replace(code, "")), plain);
    }
}

#[test]
fn context_is_as_asked() {
    let diff = diff(&program(SMALL), &edited(&[("%act = silu", "%act = gelu")]));
    let lines =
        |context| diff.display(DiffOptions { context, ..DiffOptions::default() }).to_string().lines().count();
    let all = SMALL.trim().lines().count();
    // The header, the line that changed a second time.
    assert_eq!(lines(1000), 4 + all + 1);
    assert!(lines(0) < lines(1) && lines(1) < lines(3));
}

#[test]
fn passes() {
    let net = program(NET);
    let mut text = String::new();
    for passes in ["canonicalize", "hoist", "quantize(int8dq,keep_rows=1)", "cache(fora)"] {
        let diff = ProgramDiff::new(["net", &format!("net after {passes}")], [&net, &run(&net, passes).0]);
        writeln!(text, "{diff}").unwrap();
    }
    snapshot!("diff__passes", text);
    let diff = diff(&flux_dev(1024, 28), &flux_dev_after("hoist").0);
    snapshot!("diff__flux_dev_hoist", diff.to_string());
}
