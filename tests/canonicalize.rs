//! The canonicalize pass: what each rule makes of what, and what it leaves.

use crate::common::passes::{
    NET, assert_settled, assert_unchanged, flux_dev, flux_dev_after, program, run, sketch, story,
};
use reflux_ir::{DType, Program};
use reflux_models::{ModelConfig, Net, Sizes, flux1};
use std::collections::BTreeSet;

const INPUTS: [&str; 4] =
    ["%x : f32[2,4] latent", "%z : f32[2,4] latent", "%x16 : bf16[2,4] latent", "%x8 : i8[2,4] latent"];

/// A rule, and lines to which it applies.
const RULES: [(&str, &str); 14] = [
    (
        "slice-of-slice",
        "%a = slice %x {axis=-1, start=1, end=4} : f32[2,3]
         %b = slice %a {axis=1, start=1, end=3} : f32[2,2]
         %c = slice %b {axis=1, start=1, end=2} : f32[2,1]
         return %a, %c",
    ),
    (
        "slice-of-concat",
        "%both = concat %x, %z, %x {axis=1} : f32[2,12]
         %all = slice %both {axis=1, start=0, end=4} : f32[2,4]
         %some = slice %both {axis=-1, start=5, end=8} : f32[2,3]
         return %all, %some",
    ),
    (
        "slice-of-all",
        "%a = slice %x {axis=1, start=0, end=4} : f32[2,4]
         %y = silu %a : f32[2,4]
         return %y",
    ),
    (
        "reshape-of-reshape",
        "%a = reshape %x {shape=[8]} : f32[8]
         %b = reshape %a {shape=[2, 2, 2]} : f32[2,2,2]
         return %b",
    ),
    (
        "reshape-to-same",
        "%a = reshape %x {shape=[8]} : f32[8]
         %b = reshape %a {shape=[2, 4]} : f32[2,4]
         %y = silu %b : f32[2,4]
         return %y, %a",
    ),
    (
        "transpose-of-transpose",
        "%cube = reshape %x {shape=[2, 2, 2]} : f32[2,2,2]
         %a = transpose %cube {perm=[1, 2, 0]} : f32[2,2,2]
         %b = transpose %a {perm=[0, 2, 1]} : f32[2,2,2]
         return %b",
    ),
    (
        "transpose-to-same",
        "%a = transpose %x {perm=[1, 0]} : f32[4,2]
         %b = transpose %a {perm=[1, 0]} : f32[2,4]
         %y = silu %b : f32[2,4]
         return %y",
    ),
    (
        "concat-of-one",
        "%a = concat %x {axis=0} : f32[2,4]
         %b = concat %a, %z {axis=0} : f32[4,4]
         %c = concat %b, %x, %b {axis=-2} : f32[10,4]
         return %c",
    ),
    (
        "cast-to-same",
        "%a = cast %x {dtype=f32} : f32[2,4]
         %y = silu %a : f32[2,4]
         return %y",
    ),
    (
        "cast-there-and-back",
        "%wide = cast %x16 {dtype=f32} : f32[2,4]
         %back = cast %wide {dtype=bf16} : bf16[2,4]
         %y = silu %back : bf16[2,4]
         %float = cast %x8 {dtype=bf16} : bf16[2,4]
         %int = cast %float {dtype=i8} : i8[2,4]
         return %y, %int",
    ),
    (
        "constant-on-the-right",
        "%a = add 1.0, %x : f32[2,4]
         %b = mul 2.0, %a : f32[2,4]
         return %b",
    ),
    (
        "unit",
        "%a = mul 1.0, %x : f32[2,4]
         %b = div %a, 1.0 : f32[2,4]
         %c = sub %b, 0.0 : f32[2,4]
         %y = silu %c : f32[2,4]
         return %y",
    ),
    (
        "fold-constants",
        // Rounded as the executor rounds: 0.1 · 0.1 is not 0.01 in f32, and 1/3 has eight bits in bf16.
        "%a = mul 0.1 f32, 0.1 f32 : f32[]
         %y = add %x, %a : f32[2,4]
         %third = div 1.0 bf16, 3.0 bf16 : bf16[]
         %w = mul %x16, %third : bf16[2,4]
         %six = cast 6.0 f32 {dtype=i8} : i8[]
         %one = equal %six, 6.0 i8 : i8[]
         %m = add %x8, %one : i8[2,4]
         return %y, %w, %m",
    ),
    (
        "cse",
        "%first = silu %x : f32[2,4]
         %again = silu %x : f32[2,4]
         %p = linear %first, @w f32[4,4] : f32[2,4] in one
         %q = linear %again, @w f32[4,4] : f32[2,4] in other
         %y = add %p, %q : f32[2,4]
         return %y, %again",
    ),
];

#[test]
fn rules() {
    let mut tried = BTreeSet::new();
    for (rule, body) in RULES {
        let text = sketch(&INPUTS, body);
        let (_, report) = run(&program(&text), "canonicalize");
        assert!(report.passes[0].rules[rule].hits > 0, "{rule}: {report}");
        tried.extend(report.passes[0].rules.keys().copied());
        assert_settled(rule, &program(&text), "canonicalize");
        snapshot!(format!("canonicalize__{}", rule.replace('-', "_")), story(&text, "canonicalize"));
    }
    // There is no rule that this test does not know.
    assert_eq!(tried, RULES.iter().map(|(rule, _)| *rule).collect());
}

/// A rule, why it does not fit, and lines that look as if it did.
#[test]
fn what_does_not_fit_stays() {
    let cases = [
        (
            "slice-of-slice",
            "the operand is not a slice",
            "%a = slice %x {axis=1, start=0, end=2} : f32[2,2]\nreturn %a",
        ),
        (
            "slice-of-slice",
            "the slices are along different axes",
            "%a = slice %x {axis=1, start=0, end=2} : f32[2,2]
             %b = slice %a {axis=0, start=0, end=1} : f32[1,2]
             return %b",
        ),
        (
            "slice-of-concat",
            "it takes of several parts",
            "%both = concat %x, %z {axis=1} : f32[2,8]
             %a = slice %both {axis=1, start=3, end=5} : f32[2,2]
             return %a",
        ),
        (
            "slice-of-concat",
            "it is along another axis",
            "%both = concat %x, %z {axis=1} : f32[2,8]
             %a = slice %both {axis=0, start=0, end=1} : f32[1,8]
             return %a",
        ),
        (
            "slice-of-all",
            "it leaves something out",
            "%a = slice %x {axis=0, start=1, end=2} : f32[1,4]\nreturn %a",
        ),
        ("reshape-of-reshape", "there is one reshape", "%a = reshape %x {shape=[8]} : f32[8]\nreturn %a"),
        (
            "reshape-to-same",
            "something is between there and back",
            "%a = reshape %x {shape=[8]} : f32[8]
             %s = silu %a : f32[8]
             %b = reshape %s {shape=[2, 4]} : f32[2,4]
             return %b",
        ),
        (
            "transpose-of-transpose",
            "a reshape is between them",
            "%a = transpose %x {perm=[1, 0]} : f32[4,2]
             %r = reshape %a {shape=[2, 4]} : f32[2,4]
             %b = transpose %r {perm=[1, 0]} : f32[4,2]
             return %b",
        ),
        (
            "transpose-to-same",
            "the axes are permuted",
            "%a = transpose %x {perm=[1, 0]} : f32[4,2]\nreturn %a",
        ),
        (
            "concat-of-one",
            "the part is one along another axis",
            "%a = concat %x, %z {axis=0} : f32[4,4]
             %b = concat %a, %a {axis=1} : f32[4,8]
             return %b",
        ),
        ("cast-to-same", "the types differ", "%a = cast %x {dtype=f16} : f16[2,4]\nreturn %a"),
        (
            "cast-there-and-back",
            "the first cast rounds",
            "%a = cast %x {dtype=bf16} : bf16[2,4]
             %b = cast %a {dtype=f32} : f32[2,4]
             return %b",
        ),
        (
            "cast-there-and-back",
            "the second leads elsewhere",
            "%wide = cast %x16 {dtype=f32} : f32[2,4]
             %half = cast %wide {dtype=f16} : f16[2,4]
             return %half",
        ),
        (
            "cast-there-and-back",
            "f16 does not hold every bf16",
            "%half = cast %x16 {dtype=f16} : f16[2,4]
             %back = cast %half {dtype=bf16} : bf16[2,4]
             return %back",
        ),
        ("constant-on-the-right", "it is there", "%a = add %x, 1.0 : f32[2,4]\nreturn %a"),
        ("unit", "a difference is not symmetric", "%a = sub 0.0, %x : f32[2,4]\nreturn %a"),
        ("unit", "a quotient is not symmetric", "%a = div 1.0, %x : f32[2,4]\nreturn %a"),
        ("unit", "−0 is not the unit: of −0 it makes 0", "%a = sub %x, -0.0 : f32[2,4]\nreturn %a"),
        ("unit", "1 is not the unit", "%a = sub %x, 1.0 : f32[2,4]\nreturn %a"),
        // 0 is none of a sum: −0 + 0 is 0.
        ("constant-on-the-right", "0 is no unit of a sum", "%a = add %x, 0.0 : f32[2,4]\nreturn %a"),
        (
            "fold-constants",
            "an operand is not a constant",
            "%a = cast @w f32[4] {dtype=f16} : f16[4]\nreturn %a",
        ),
        ("fold-constants", "the result overflows", "%a = add 100.0 i8, 28.0 i8 : i8[]\nreturn %a"),
        ("fold-constants", "the result is not finite", "%a = div 1.0 f32, 0.0 f32 : f32[]\nreturn %a"),
        ("fold-constants", "the result is no integer", "%a = cast 2.5 f32 {dtype=i8} : i8[]\nreturn %a"),
        (
            "cse",
            "the operands change places",
            "%a = sub %x, %z : f32[2,4]
             %b = sub %z, %x : f32[2,4]
             %c = add %a, %b : f32[2,4]
             return %c",
        ),
        (
            "cse",
            "the attributes differ",
            "%a = layer_norm %x {eps=1e-5} : f32[2,4]
             %b = layer_norm %x {eps=1e-6} : f32[2,4]
             return %a, %b",
        ),
        (
            "cse",
            "the weights are read as two types",
            "%a = dequantize @w i8.row.f32[4,4] {dtype=f32} : f32[4,4]
             %b = dequantize @w i8.tensor.f32[4,4] {dtype=f32} : f32[4,4]
             return %a, %b",
        ),
    ];
    for (rule, why, body) in cases {
        let case = format!("{rule}: {why}");
        let report = assert_unchanged(&case, &program(&sketch(&INPUTS, body)), "canonicalize");
        assert!(report.passes[0].rules[rule].tries > 0, "{case}");
    }
}

/// What one stage computes is not there in another.
#[test]
fn stages_do_not_share() {
    let text = "\
program p {
  input %p : f32[2] prompt
  prepare prompt (%p) -> (%q) {
    %q = silu %p : f32[2]
    return %q
  }
  variant main (%p, %q) -> (%y) {
    %a = silu %p : f32[2]
    %y = add %a, %q : f32[2]
    return %y
  }
  schedule main
}
";
    assert_unchanged("two stages", &program(text), "canonicalize");
}

/// What blocks compute alike, they share: it moves in front of them and loses its index, and the blocks stay alike.
#[test]
fn blocks_share() {
    let cases = [
        (
            "blocks",
            "repeat %i in 0..3 (%h.prev = %x) in blocks.{i} {
               %m = silu %z : f32[2,4] in .norm
               %s = add %m, 1.0 : f32[2,4] in .norm
               %h = mul %h.prev, %s : f32[2,4]
               yield %h
             }
             %m = silu %h.2 : f32[2,4]
             return %m",
        ),
        (
            // As T5 computes its buckets, were every block to have its own.
            "blocks_of_nothing",
            "repeat %i in 0..3 (%h.prev = %x) in blocks.{i} {
               %g = silu %h.prev : f32[2,4]
               %table = relative_buckets {length=4, buckets=4, max_distance=8} : i32[4,4]
               %bias = embedding %table, @bias f32[4,1] : f32[4,4,1]
               %flat = reshape %bias {shape=[4, 4]} : f32[4,4]
               %h = linear %g, %flat : f32[2,4]
               yield %h
             }
             return %h.2",
        ),
        (
            // Two stacks whose blocks have the same numbers.
            "blocks_of_two_stacks",
            "repeat %i in 0..2 in left.{i} {
               %l = silu %x : f32[2,4]
               %lw = linear %l, @.w f32[4,4] : f32[2,4]
             }
             repeat %i in 0..2 in right.{i} {
               %r = silu %x : f32[2,4]
               %rw = linear %r, @.w f32[4,4] : f32[2,4]
             }
             %y = add %lw.1, %rw.1 : f32[2,4]
             return %y, %lw.0, %rw.0",
        ),
    ];
    for (case, body) in cases {
        snapshot!(format!("canonicalize__{case}"), story(&sketch(&INPUTS, body), "canonicalize"));
        assert_settled(case, &program(&sketch(&INPUTS, body)), "canonicalize");
    }
}

/// The same result whichever rule comes first, and whatever a rule has to wait for.
#[test]
fn rules_feed_each_other() {
    let text = sketch(
        &INPUTS,
        "%a = concat %x, %z {axis=1} : f32[2,8]
         %b = concat %a, %x {axis=1} : f32[2,12]
         %c = slice %b {axis=1, start=4, end=8} : f32[2,4]
         %d = reshape %c {shape=[8]} : f32[8]
         %e = reshape %d {shape=[2, 4]} : f32[2,4]
         %f = slice %e {axis=1, start=1, end=3} : f32[2,2]
         %g = slice %z {axis=1, start=0, end=3} : f32[2,3]
         %h = slice %g {axis=1, start=1, end=3} : f32[2,2]
         %i = sub %f, %h : f32[2,2]
         %two = add 1.0 f32, 1.0 f32 : f32[]
         %half = div %two, 2.0 : f32[]
         %y = mul %half, %i : f32[2,2]
         return %y",
    );
    snapshot!("canonicalize__together", story(&text, "canonicalize"));
    assert_settled("together", &program(&text), "canonicalize");
}

/// Every network of FLUX.1-dev, small.
fn networks() -> impl Iterator<Item = (&'static Net, Program)> {
    let config = ModelConfig::built_in("flux-dev").unwrap();
    let sizes = Sizes { batch: 2, steps: 4, text_tokens: 64, height: 64, width: 96, reference: None };
    flux1::FAMILY.nets.iter().copied().map(move |net| (net, config.lower(net, &sizes, DType::BF16).unwrap()))
}

#[test]
fn networks_settle() {
    for (net, program) in networks().chain([(&flux1::TRANSFORMER, program(NET))]) {
        assert_settled(net.folder, &program, "canonicalize");
        assert_settled(net.folder, &program, "canonicalize,hoist,canonicalize,dce");
    }
}

#[test]
fn flux_dev_is_a_few_pages() {
    for (name, passes) in
        [("flux_dev", "canonicalize"), ("flux_dev_hoisted", "canonicalize,hoist,canonicalize")]
    {
        snapshot!(format!("canonicalize__{name}"), flux_dev_after(passes).0);
    }
    assert_settled("flux-dev", &flux_dev(1024, 28), "canonicalize");
}
