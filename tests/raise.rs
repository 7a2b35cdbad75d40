//! The raise pass: what each rule makes of what, and what it leaves. `tests/numeric.rs` compares results, and `tests/onnx.rs` those of
//! whole graphs.

use crate::common::passes::{
    assert_settled, assert_unchanged, flux_dev, only, pipeline, program, run, sketch, story,
};
use std::collections::BTreeSet;

const INPUTS: [&str; 7] = [
    "%x : f32[2,6,8] latent",
    "%z : f32[2,6,8] latent",
    "%q : f32[2,3,6,8] latent",
    "%k : f32[2,3,5,8] latent",
    "%v : f32[2,3,5,8] latent",
    "%m : f32[6,5] latent",
    "%w : f32[4,8] latent",
];

/// Lines that are the square of `%x`, its mean, and what a norm divides by.
const ROOT: &str = "%square = mul %x, %x : f32[2,6,8]
     %flat = mean %square : f32[2,6]
     %mean = reshape %flat {shape=[2, 6, 1]} : f32[2,6,1]
     %more = add %mean, 1e-6 : f32[2,6,1]
     %root = sqrt %more : f32[2,6,1]";

/// Lines that are `%c`, `%x` minus its mean, and what a norm of it divides by.
const CENTRED: &str = "%sum = mean %x : f32[2,6]
     %middle = reshape %sum {shape=[2, 6, 1]} : f32[2,6,1]
     %c = sub %x, %middle : f32[2,6,8]
     %square = mul %c, %c : f32[2,6,8]
     %flat = mean %square : f32[2,6]
     %mean = reshape %flat {shape=[2, 6, 1]} : f32[2,6,1]
     %more = add %mean, 1e-5 : f32[2,6,1]
     %root = sqrt %more : f32[2,6,1]";

/// A rule, and lines to which it applies.
pub fn rules() -> Vec<(&'static str, String)> {
    let lines = |rule, lines: &str| (rule, sketch(&INPUTS, lines));
    vec![
        lines(
            "transpose-of-merged",
            "%merged = reshape %k {shape=[6, 5, 8]} : f32[6,5,8]
             %turned = transpose %merged {perm=[0, 2, 1]} : f32[6,8,5]
             %y = reshape %turned {shape=[2, 3, 8, 5]} : f32[2,3,8,5]
             return %y",
        ),
        lines(
            "silu",
            "%gate = sigmoid %x : f32[2,6,8]
             %y = mul %gate, %x : f32[2,6,8]
             %more = mul %z, 1.702 : f32[2,6,8]
             %quick = sigmoid %more : f32[2,6,8]
             %w1 = mul %z, %quick : f32[2,6,8]
             return %y, %w1",
        ),
        lines(
            "gelu",
            "%part = div %x, 1.4142135 : f32[2,6,8]
             %erf = erf %part : f32[2,6,8]
             %gate = add %erf, 1.0 : f32[2,6,8]
             %all = mul %x, %gate : f32[2,6,8]
             %y = mul %all, 0.5 : f32[2,6,8]
             %product = mul %x, %z : f32[2,6,8]
             %half = mul 0.5, %product : f32[2,6,8]
             %small = mul %product, 0.70710677 : f32[2,6,8]
             %erf1 = erf %small : f32[2,6,8]
             %gate1 = add 1.0, %erf1 : f32[2,6,8]
             %y1 = mul %half, %gate1 : f32[2,6,8]
             return %y, %y1",
        ),
        lines(
            "gelu-tanh",
            "%square = mul %x, %x : f32[2,6,8]
             %cube = mul %square, %x : f32[2,6,8]
             %third = mul 0.044715, %cube : f32[2,6,8]
             %sum = add %x, %third : f32[2,6,8]
             %scaled = mul 0.7978846, %sum : f32[2,6,8]
             %tanh = tanh %scaled : f32[2,6,8]
             %gate = add %tanh, 1.0 : f32[2,6,8]
             %half = mul 0.5, %gate : f32[2,6,8]
             %y = mul %x, %half : f32[2,6,8]
             return %y",
        ),
        lines(
            "rms-norm",
            &format!(
                "{ROOT}
                 %part = div 1.0, %root : f32[2,6,1]
                 %normed = mul %x, %part : f32[2,6,8]
                 %y = mul %normed, @w f32[8] : f32[2,6,8]
                 return %y"
            ),
        ),
        lines("layer-norm", &format!("{CENTRED}\n%y = div %c, %root : f32[2,6,8]\nreturn %y")),
        lines(
            "affine-of-norm",
            "%n = layer_norm %x {eps=1e-6} : f32[2,6,8]
             %scaled = mul %n, @w f32[8] : f32[2,6,8]
             %y = add %scaled, @b f32[8] : f32[2,6,8]
             return %y",
        ),
        lines(
            "group-norm",
            "%rows = reshape %q {shape=[2, 3, 48]} : f32[2,3,48]
             %n = layer_norm %rows {eps=1e-6} : f32[2,3,48]
             %picture = reshape %n {shape=[2, 3, 6, 8]} : f32[2,3,6,8]
             %scaled = mul %picture, @w f32[3,1,1] : f32[2,3,6,8]
             %y = add %scaled, @b f32[1,3,1,1] : f32[2,3,6,8]
             return %y",
        ),
        lines(
            "linear",
            "%turned = transpose %w {perm=[1, 0]} : f32[8,4]
             %y = matmul %x, %turned : f32[2,6,4]
             return %y",
        ),
        lines(
            "bias-of-linear",
            "%product = linear %x, @w f32[4,8] : f32[2,6,4]
             %y = add @b f32[4], %product : f32[2,6,4]
             return %y",
        ),
        lines(
            "attention",
            "%scaled = mul %q, 0.5 : f32[2,3,6,8]
             %turned = transpose %k {perm=[0, 1, 3, 2]} : f32[2,3,8,5]
             %keys = mul %turned, 0.5 : f32[2,3,8,5]
             %scores = matmul %scaled, %keys : f32[2,3,6,5]
             %divided = div %scores, 2.0 : f32[2,3,6,5]
             %masked = add %divided, %m : f32[2,3,6,5]
             %weights = softmax %masked : f32[2,3,6,5]
             %y = matmul %weights, %v : f32[2,3,6,8]
             return %y",
        ),
    ]
}

/// A rule, and lines that are nearly what it is for, with what makes the difference.
fn near_misses() -> Vec<(&'static str, &'static str, String)> {
    let change = |rule: &'static str, why: &'static str, from: &str, to: &str| {
        let (_, text) = rules().into_iter().find(|(name, _)| *name == rule).unwrap();
        assert!(text.contains(from), "{rule}: {from}");
        (rule, why, text.replace(from, to))
    };
    vec![
        change("silu", "the gate is of another value", "mul %gate, %x", "mul %gate, %z"),
        change("gelu", "another factor", "1.4142135", "1.5"),
        change("gelu", "another half", "%all, 0.5", "%all, 0.4"),
        change("gelu-tanh", "another coefficient", "0.044715", "0.04"),
        change("gelu-tanh", "the square", "mul %square, %x", "mul %square, 1.0"),
        change("rms-norm", "the mean of no square", "mul %x, %x", "mul %x, 2.0"),
        change("rms-norm", "a weight for each element", "@w f32[8]", "@w f32[6,8]"),
        change("layer-norm", "a sum instead of a mean", "mean %x", "sum %x"),
        change("affine-of-norm", "a bias for each row", "@b f32[8]", "@b f32[6,8]"),
        change("group-norm", "a factor for each row of pixels", "@w f32[3,1,1]", "@w f32[3,6,1]"),
        (
            "group-norm",
            "groups of rows of pixels",
            sketch(
                &INPUTS,
                "%rows = reshape %q {shape=[2, 9, 16]} : f32[2,9,16]
                 %n = layer_norm %rows {eps=1e-6} : f32[2,9,16]
                 %picture = reshape %n {shape=[2, 3, 6, 8]} : f32[2,3,6,8]
                 %scaled = mul %picture, @w f32[3,1,1] : f32[2,3,6,8]
                 %y = add %scaled, @b f32[1,3,1,1] : f32[2,3,6,8]
                 return %y",
            ),
        ),
        (
            "linear",
            "matrices, not one",
            sketch(
                &INPUTS,
                "%turned = transpose %k {perm=[0, 1, 3, 2]} : f32[2,3,8,5]
                 %y = matmul %q, %turned : f32[2,3,6,5]
                 return %y",
            ),
        ),
        change("bias-of-linear", "a bias for each row", "@b f32[4]", "@b f32[6,1]"),
        (
            "bias-of-linear",
            "the product is read elsewhere",
            sketch(
                &INPUTS,
                "%product = linear %x, @w f32[4,8] : f32[2,6,4]
                 %y = add @b f32[4], %product : f32[2,6,4]
                 return %y, %product",
            ),
        ),
        change("attention", "the scores are not normalised", "softmax %masked", "exp %masked"),
        change(
            "transpose-of-merged",
            "rows are moved too",
            "{perm=[0, 2, 1]} : f32[6,8,5]",
            "{perm=[2, 0, 1]} : f32[8,6,5]",
        ),
    ]
}

/// How often `rule` applies to the program `text`.
fn hits(rule: &str, text: &str) -> usize {
    let (_, report) = run(&program(text), "raise");
    only(&report).rules.get(rule).map_or(0, |stats| stats.hits)
}

#[test]
fn every_rule_puts_together_what_it_is_for() {
    for (rule, text) in rules() {
        assert!(hits(rule, &text) > 0, "{rule}");
        assert_settled(rule, &program(&text), "raise");
        snapshot!(format!("raise__{}", rule.replace('-', "_")), story(&text, "raise"));
    }
    let tested: Vec<_> = rules().into_iter().map(|(rule, _)| rule).collect();
    let all = pipeline("raise");
    let all: Vec<_> = all.passes().flat_map(|pass| pass.rules()).map(|rule| rule.name).collect();
    assert_eq!(tested, all);
}

#[test]
fn every_rule_leaves_what_is_nearly_that() {
    for (rule, why, text) in near_misses() {
        let (_, whole) = rules().into_iter().find(|(name, _)| *name == rule).unwrap();
        assert!(hits(rule, &text) < hits(rule, &whole), "{rule}: {why}");
    }
    let tested: BTreeSet<_> = near_misses().into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(tested, rules().into_iter().map(|(rule, _)| rule).collect());
}

/// FLUX.1 is lowered to such ops: there is nothing to put together.
#[test]
fn flux_is_left_alone() {
    assert_unchanged("FLUX.1-dev", &flux_dev(1024, 4), "raise");
}
