//! The quantize-attention pass: what it makes, what becomes of bounds, and what it leaves. `tests/attention_codes.rs` says how far results
//! are from those without it.

use crate::common::passes::{
    assert_settled, assert_unchanged, flux_dev_after, only, program, refusal, run, sketch, story,
};
use reflux_ir::op::{Op, ScoreBound};
use reflux_ir::{DType, Graph};

const INPUTS: [&str; 5] = [
    "%q : bf16[1,6,2,8] latent",
    "%k : bf16[1,6,2,8] latent",
    "%v : bf16[1,6,2,8] latent",
    "%limit : f32[] prompt",
    "%mask : bf16[6,6] prompt",
];

const PLAIN: &str = "%a = attention %q, %k, %v {scale=0.35} : bf16[1,6,2,8] in block.attn
     return %a";

const BOUNDED: &str = "%bound = score_bound @norm_q bf16[8], @norm_k bf16[8] {queries=1, scale=0.35} : f32[]
     %a = attention %q, %k, %v, %bound {scale=0.35, bounded=true} : bf16[1,6,2,8] in block.attn
     return %a";

/// Keys of two streams, each with its own norm.
const NORMALISED: &str = "%q_norm = rms_norm %q, @norm_q bf16[8] {eps=1e-6} : bf16[1,6,2,8] in block.attn
     %k_norm = rms_norm %k, @norm_k bf16[8] {eps=1e-6} : bf16[1,6,2,8] in block.attn
     %added = rms_norm %v, @norm_added_k bf16[8] {eps=1e-6} : bf16[1,6,2,8] in block.attn
     %keys = concat %added, %k_norm {axis=1} : bf16[1,12,2,8] in block.attn
     %values = concat %v, %v {axis=1} : bf16[1,12,2,8] in block.attn
     %a = attention %q_norm, %keys, %values {scale=0.35} : bf16[1,6,2,8] in block.attn
     return %a";

#[test]
fn queries_and_keys_become_codes() {
    let cases = [
        ("int8", PLAIN, "quantize-attention"),
        ("fp8_bounded", BOUNDED, "quantize-attention(fp8)"),
        ("smooth", BOUNDED, "quantize-attention(int8,smooth_k=true)"),
        ("common_scale", NORMALISED, "quantize-attention(int8,common_scale=true)"),
    ];
    for (case, body, passes) in cases {
        let text = sketch(&INPUTS, body);
        assert_settled(case, &program(&text), passes);
        snapshot!(format!("quantize_attention__{case}"), story(&text, passes));
    }
}

/// A number that is no bound by `score_bound` says nothing of codes. What is masked, or of one's own queries, has codes all the same.
#[test]
fn bounds_of_numbers_are_dropped() {
    let given = "%a = attention %q, %k, %v, %limit {scale=0.35, bounded=true} : bf16[1,6,2,8]\nreturn %a";
    let masked = "%a = attention %q, %q, %v, %mask {scale=0.35} : bf16[1,6,2,8]\nreturn %a";
    for (body, operands, quantized) in [(given, 3, 2), (masked, 4, 1)] {
        let (after, _) = run(&program(&sketch(&INPUTS, body)), "quantize-attention(sage8)");
        let graph = &after.variants["main"];
        let a = graph.find("a").unwrap();
        assert_eq!(graph.operands(a).len(), operands, "{after}");
        assert!(matches!(&graph[a].op, Op::Attention(op) if !op.bounded), "{after}");
        assert_eq!(graph.op_counts()["quantize"], quantized, "{after}");
    }
}

/// Norms that something else reads, too, stay in their units.
#[test]
fn keys_that_others_read_have_scales_of_their_own() {
    let shared = NORMALISED.replace("return %a", "return %a, %k_norm");
    let (after, _) = run(&program(&sketch(&INPUTS, &shared)), "quantize-attention(int8,common_scale=true)");
    assert!(after.prepares.is_empty() && !after.to_string().contains("div"), "{after}");
    assert_eq!(after.variants["main"].op_counts()["quantize"], 2);
}

#[test]
fn what_stays() {
    let text = sketch(&INPUTS, PLAIN);
    let report =
        assert_unchanged("skipped", &program(&text), "quantize-attention(skip=block.*,allow_nothing=true)");
    assert_eq!(
        (only(&report).rules["quantize-attention"].hits, only(&report).rules["quantize-attention"].tries),
        (0, 4)
    );
    let coded = run(&program(&text), "quantize-attention").0;
    assert_unchanged("coded", &coded, "quantize-attention(fp8)");
    for (passes, why) in [
        ("quantize-attention(skip=block.*)", "there is no attention to quantize"),
        ("quantize-attention(include=other.*)", "no attention is in a module that matches `other.*`"),
        ("fuse,quantize-attention", "requires that no ops are fused"),
    ] {
        let refused = refusal(&program(&text), passes);
        assert!(refused.contains(why), "{passes}: {refused}");
    }
}

/// All attention of FLUX.1-dev is over codes that are made where queries and keys are rotated, and its prepared bounds are of codes.
#[test]
fn flux_dev() {
    for (scheme, dtype) in
        [("int8", DType::I8), ("int8,common_scale=true", DType::I8), ("fp8", DType::F8E4M3)]
    {
        let passes = format!(
            "canonicalize,bound-attention,hoist,canonicalize,quantize-attention({scheme}),merge-linear,fuse,dce"
        );
        let (program, report) = flux_dev_after(&passes);
        let step = &program.variants["full"];
        let made = |id| match &step[id].op {
            Op::Rowwise(op) => format!("{:?}", op.body).contains("Rope"),
            _ => false,
        };
        let is_ready = |graph: &Graph, id| {
            let Op::Attention(op) = &graph[id].op else { return false };
            let codes = graph.operands(id).into_iter().take(2).flat_map(|x| match &graph[x].op {
                Op::Concat(_) => graph.operands(x),
                _ => vec![x],
            });
            op.bounded && codes.into_iter().all(made)
        };
        assert_eq!(step.order().into_iter().filter(|&id| is_ready(step, id)).count(), 57, "{report}");
        let prepared = program.prepares.values().flat_map(|graph| graph.ids().map(|id| &graph[id].op));
        let bounds = prepared
            .filter(|op| matches!(op, Op::ScoreBound(ScoreBound { codes: Some(of), .. }) if *of == dtype));
        assert_eq!(bounds.count(), 57);
    }
}
