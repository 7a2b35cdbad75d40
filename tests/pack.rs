//! The pack pass: which weights are laid out in panels, and which stay rows.

use crate::common::passes::{self, assert_settled, assert_unchanged, flux_dev, program, run, sketch, story};

const INPUTS: [&str; 2] = ["%x : f32[1,32,64] latent", "%half : bf16[1,32,64] latent"];

/// A product by itself, two that become one, and one that something is done to.
const NET: &str = "
    %a = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[1,32,64] in block.a
    %act = silu %a : f32[1,32,64] in block
    %q = linear %act, @.weight f32[16,64] : f32[1,32,16] in block.q
    %k = linear %act, @.weight f32[32,64] : f32[1,32,32] in block.k
    %out = linear %act, @.weight f32[17,64] : f32[1,32,17] in block.out
    return %q, %k, %out";

#[test]
fn weights_become_panels() {
    let net = sketch(&INPUTS, NET);
    for (before, passes) in [("", "pack"), ("", "pack,dce"), ("merge-linear,fuse", "pack,dce")] {
        assert_settled(before, &run(&program(&net), before).0, passes);
    }
    snapshot!("pack__linears", story(&net, "pack"));
    snapshot!("pack__fused", story(&net, "merge-linear,fuse,pack,dce"));
}

#[test]
fn what_stays_rows() {
    let cases = [
        ("bf16", "%y = linear %half, @.weight bf16[64,64] : bf16[1,32,64] in a"),
        ("rows that fill no panels", "%y = linear %x, @.weight f32[40,64] : f32[1,32,40] in a"),
        ("no product", "%y = silu %x : f32[1,32,64]"),
    ];
    for (case, line) in cases {
        assert_unchanged(case, &program(&sketch(&INPUTS, &format!("{line}\nreturn %y"))), "pack");
    }
    let net = program(&sketch(&INPUTS, "%y = linear %x, @.weight f32[64,64] : f32[1,32,64] in a\nreturn %y"));
    for scheme in ["int8dq", "int8wo", "int4wo"] {
        assert_unchanged(scheme, &run(&net, &format!("quantize({scheme})")).0, "pack");
    }
    // In bf16 there is nothing for the processor's f32 kernel.
    assert_unchanged("flux-dev", &flux_dev(256, 4), "pack");
}

/// Variants of one step share what is packed.
#[test]
fn variants_share_panels() {
    let net = program(passes::NET);
    let (packed, _) = run(&net, "hoist,cache(fora,interval=2),pack,dce");
    let stage = packed.prepares.values().next().unwrap();
    let panels: Vec<_> = stage.outputs().iter().filter(|output| output.label.contains("_panels")).collect();
    let read: std::collections::BTreeSet<_> = packed
        .variants
        .values()
        .flat_map(|graph| graph.inputs().iter().map(|&id| graph[id].name.clone()))
        .filter(|name| name.contains("_panels"))
        .collect();
    assert!(!panels.is_empty());
    assert_eq!(panels.len(), read.len());
}
