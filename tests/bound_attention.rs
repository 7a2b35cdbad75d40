//! The bound-attention pass: which scores have a bound, and which do not. `tests/numeric.rs` checks that bounds hold.

use crate::common::passes::{
    assert_settled, assert_unchanged, flux_dev_after, only, program, run, sketch, story,
};
use reflux_ir::op::Op;
use reflux_ir::pass::PipelineReport;

const INPUTS: [&str; 6] = [
    "%x : bf16[1,6,16] latent",
    "%y : bf16[1,3,16] latent",
    "%v : bf16[1,6,2,8] latent",
    "%w : bf16[8] prompt",
    "%angles : f32[2,6,4] prompt",
    "%mask : bf16[6,6] prompt",
];

/// Heads of `%x`, normalised; `%q` is rotated too.
const HEADS: &str = "%heads = reshape %x {shape=[1, 6, 2, 8]} : bf16[1,6,2,8]
     %norm = rms_norm %heads, @norm_q bf16[8] {eps=1e-6} : bf16[1,6,2,8]
     %ids = position_ids {text=2, rows=2, columns=2} : f32[6,3]
     %table = rope_table %ids {axes=[2, 2, 4], theta=10000.0} : f32[2,6,4]
     %q = rope %norm, %table : bf16[1,6,2,8]";

#[test]
fn normalised_heads_have_a_bound() {
    let one = format!(
        "{HEADS}
         %flat = rms_norm %heads, @norm_k bf16[8] {{eps=1e-6}} : bf16[1,6,2,8]
         %turned = transpose %flat {{perm=[0, 1, 2, 3]}} : bf16[1,6,2,8]
         %a = attention %q, %turned, %v {{scale=0.35}} : bf16[1,6,2,8] in block.attn
         return %a"
    );
    // Of two streams, each with its own norm, and a part of one.
    let two = format!(
        "{HEADS}
         %few = reshape %y {{shape=[1, 3, 2, 8]}} : bf16[1,3,2,8]
         %context = rms_norm %few, @norm_added_k bf16[8] {{eps=1e-6}} : bf16[1,3,2,8]
         %part = slice %norm {{axis=1, start=0, end=3}} : bf16[1,3,2,8]
         %both = concat %context, %part {{axis=1}} : bf16[1,6,2,8]
         %k = rope %both, %table : bf16[1,6,2,8]
         %a = attention %q, %k, %v {{scale=0.35}} : bf16[1,6,2,8] in block.attn
         return %a"
    );
    for (case, body) in [("one", one), ("two", two)] {
        let text = sketch(&INPUTS, &body);
        assert_settled(case, &program(&text), "bound-attention");
        snapshot!(format!("bound_attention__{case}"), story(&text, "bound-attention"));
    }
}

#[test]
fn what_has_no_bound() {
    let cases = [
        ("keys as they are", "%a = attention %q, %heads, %v {scale=0.35} : bf16[1,6,2,8]"),
        ("queries as they are", "%a = attention %heads, %q, %v {scale=0.35} : bf16[1,6,2,8]"),
        ("causal", "%a = attention %q, %q, %v {scale=0.35, causal=true} : bf16[1,6,2,8]"),
        ("a mask", "%a = attention %q, %q, %v, %mask {scale=0.35} : bf16[1,6,2,8]"),
        (
            "angles from elsewhere",
            "%k = rope %norm, %angles : bf16[1,6,2,8]
             %a = attention %q, %k, %v {scale=0.35} : bf16[1,6,2,8]",
        ),
        (
            "a weight that changes",
            "%k = rms_norm %heads, %w {eps=1e-6} : bf16[1,6,2,8]
             %a = attention %q, %k, %v {scale=0.35} : bf16[1,6,2,8]",
        ),
        (
            "something between",
            "%k = mul %q, 2.0 : bf16[1,6,2,8]
             %a = attention %q, %k, %v {scale=0.35} : bf16[1,6,2,8]",
        ),
        (
            "joined along the head",
            "%few = rms_norm @four bf16[1,6,2,4], @norm_few bf16[4] {eps=1e-6} : bf16[1,6,2,4]
             %k = concat %few, %few {axis=3} : bf16[1,6,2,8]
             %a = attention %q, %k, %v {scale=0.35} : bf16[1,6,2,8]",
        ),
    ];
    for (case, lines) in cases {
        let text = sketch(&INPUTS, &format!("{HEADS}\n{lines}\nreturn %a"));
        let report = assert_unchanged(case, &program(&text), "bound-attention");
        assert_eq!(tries_and_hits(&report), (1, 0), "{case}");
    }
}

/// All attention of FLUX.1-dev is bounded, by numbers that are computed once.
#[test]
fn flux_dev() {
    let (program, report) = flux_dev_after("canonicalize,bound-attention,hoist");
    let step = &program.variants["full"];
    let bounded = step.order().into_iter().filter(|&id| {
        matches!(&step[id].op, Op::Attention(op) if op.bounded && matches!(step[step.operands(id)[3]].op, Op::Input(_)))
    });
    assert_eq!(bounded.count(), 57, "{report}");
    // In what has been hoisted, nothing says how its heads are rotated.
    let (hoisted, _) = flux_dev_after("canonicalize,hoist");
    let (_, report) = run(&hoisted, "bound-attention");
    assert_eq!(tries_and_hits(&report), (57, 0));
}

fn tries_and_hits(report: &PipelineReport) -> (usize, usize) {
    let rule = &only(report).rules["bound-of-norms"];
    (rule.tries, rule.hits)
}
