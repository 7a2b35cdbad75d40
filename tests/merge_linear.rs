//! The merge-linear pass: which linears become one, and what stays apart.

use crate::common::passes::{
    assert_settled, assert_unchanged, flux_dev_after, log, program, run, sketch, story,
};

const INPUTS: [&str; 3] =
    ["%x : f32[1,32,64] latent", "%z : f32[1,32,64] latent", "%few : f32[1,16,64] latent"];

/// Queries, keys and values of a block that has none of FLUX's names.
const BLOCK: &str = "
    %q = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[1,32,64] in block.q
    %k = linear %x, @.weight f32[32,64], @.bias f32[32] : f32[1,32,32] in block.k
    %v = linear %x, @.weight f32[32,64], @.bias f32[32] : f32[1,32,32] in block.inner.v
    return %q, %k, %v";

#[test]
fn linears_of_one_input_become_one() {
    let block = sketch(&INPUTS, BLOCK);
    assert_settled("a block", &program(&block), "merge-linear");
    snapshot!("merge_linear__block", story(&block, "merge-linear"));
}

/// Codes are multiplied once, and keep the scales of their rows.
#[test]
fn products_of_codes_become_one() {
    let block = sketch(&INPUTS, BLOCK);
    for scheme in ["int8dq", "int8wo", "fp8dqrow"] {
        let (quantized, _) = run(&program(&block), &format!("quantize({scheme})"));
        assert_settled(scheme, &quantized, "merge-linear");
    }
    snapshot!("merge_linear__int8dq", story(&block, "quantize(int8dq),merge-linear"));
    snapshot!("merge_linear__int8wo", story(&block, "quantize(int8wo),merge-linear"));
}

#[test]
fn what_stays_apart() {
    let line = |name: &str, x: &str, rows: usize, bias: &str, path: &str| {
        format!("%{name} = linear %{x}, @.weight f32[32,64]{bias} : f32[1,{rows},32] in {path}\n")
    };
    let bias = ", @.bias f32[32]";
    let cases = [
        ("one linear", line("a", "x", 32, "", "block.a"), "a"),
        (
            "inputs of their own",
            line("a", "x", 32, "", "block.a") + &line("b", "z", 32, "", "block.b"),
            "a, %b",
        ),
        ("blocks of their own", line("a", "x", 32, "", "one.a") + &line("b", "x", 32, "", "two.b"), "a, %b"),
        (
            "one of them with a bias",
            line("a", "x", 32, "", "block.a") + &line("b", "x", 32, bias, "block.b"),
            "a, %b",
        ),
        ("few rows", line("a", "few", 16, "", "block.a") + &line("b", "few", 16, "", "block.b"), "a, %b"),
    ];
    for (case, lines, results) in cases {
        let text = sketch(&INPUTS, &format!("{lines}return %{results}"));
        assert_unchanged(case, &program(&text), "merge-linear");
    }
    let block = program(&sketch(&INPUTS, BLOCK));
    // One scale for each weight cannot be one scale for all.
    for scheme in ["fp8dq", "fp8wo", "int4wo"] {
        let (quantized, _) = run(&block, &format!("quantize({scheme})"));
        assert_unchanged(scheme, &quantized, "merge-linear");
    }
}

/// Variants of one step share what is put together.
#[test]
fn flux_dev() {
    let (program, report) = flux_dev_after("canonicalize,hoist,canonicalize,cache(pab),merge-linear,dce");
    let (first, second) = (&program.variants[0], &program.variants[1]);
    let prepared = program.prepares.values().next().unwrap();
    // Three weights and three biases for each double block's streams, and one of each for a single block.
    let put_together = prepared.op_counts()["concat"];
    assert_eq!(put_together, 2 * (2 * 19 + 38));
    // Of a step that reuses attention, the linears of the blocks' other halves are left, each by itself.
    assert!(first.op_counts()["linear"] < second.op_counts()["linear"] + 2 * 76, "{report}");

    let passes = "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),merge-linear,dce";
    let (program, report) = flux_dev_after(passes);
    snapshot!("merge_linear__flux_dev", format!("{}\n{program}", log(&report)));
}
