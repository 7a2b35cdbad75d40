//! The fuse pass: which ops become one, what it costs, and why it is the same.

use crate::common::passes::{
    self, NET, assert_settled, assert_unchanged, flux_dev, flux_dev_after, flux_dev_times, log, only,
    program, run, sketch, story, try_run_at,
};
use reflux_ir::op::Cast;
use reflux_ir::pass::{Driver, Pass, Pipeline, PipelineReport};
use reflux_ir::{DType, Graph, Machine, Op, Program, Rate};
use reflux_passes::fuse::{Fuse, FuseRule, Proof, RULES, SpineOp, Tree};
use reflux_passes::registry;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a block's parts can read; none of the names are FLUX's.
const INPUTS: [&str; 6] = [
    "%x : f32[1,32,64] latent",
    "%y : f32[1,8,64] latent",
    "%gain : f32[1,1,64] latent",
    "%gain3 : f32[1,1,192] latent",
    "%ids : i32[4] latent",
    "%angles : f32[2,40,8] prompt",
];

/// A case and the lines of its program.
type Case = (&'static str, &'static str);

const CASES: [Case; 10] = [
    (
        "norm",
        "%n = layer_norm %x {eps=1e-6} : f32[1,32,64] in block.0
         %f = add %gain, 1.0 : f32[1,1,64] in block.0
         %s = mul %n, %f : f32[1,32,64] in block.0
         %m = add %s, %gain : f32[1,32,64] in block.0
         return %m",
    ),
    (
        "quantize",
        "%n = rms_norm %x, @.gain f32[64] {eps=1e-6} : f32[1,32,64] in block.0
         %q = quantize %n {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,32,64] in block.0
         %a = matmul_i8 %q, @.weight i8.row.f32[64,64] : i32[1,32,64] in block.0
         %l = rescale %a, %q, @.weight i8.row.f32[64,64] {dtype=f32} : f32[1,32,64] in block.0
         %g = gelu_tanh %l : f32[1,32,64] in block.0
         return %g",
    ),
    (
        "residual",
        "%l = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[1,32,64] in block.0
         %g = mul %gain, %l : f32[1,32,64] in block.0
         %r = add %x, %g : f32[1,32,64] in block.0
         return %r",
    ),
    // The activation joins the product only as all its other readers do too.
    (
        "segments",
        "%l = linear %x, @.weight f32[192,64], @.bias f32[192] : f32[1,32,192] in block.0
         %a = slice %l {axis=-1, start=0, end=64} : f32[1,32,64] in block.0
         %b = slice %l {axis=-1, start=64, end=192} : f32[1,32,128] in block.0
         %c = gelu_tanh %b : f32[1,32,128] in block.0
         %d = rms_norm %a, @.norm f32[64] {eps=1e-6} : f32[1,32,64] in block.0
         return %a, %c, %d",
    ),
    (
        "streams",
        "%a = reshape %y {shape=[1, 8, 4, 16]} : f32[1,8,4,16] in block.0
         %b = reshape %x {shape=[1, 32, 4, 16]} : f32[1,32,4,16] in block.0
         %an = rms_norm %a, @.a f32[16] {eps=1e-6} : f32[1,8,4,16] in block.0
         %bn = rms_norm %b, @.b f32[16] {eps=1e-6} : f32[1,32,4,16] in block.0
         %c = concat %an, %bn {axis=1} : f32[1,40,4,16] in block.0
         %r = rope %c, %angles : f32[1,40,4,16] in block.0
         return %r",
    ),
    // A value that two read is computed once, for it costs less to read it than to compute it again.
    (
        "shared",
        "%l = linear %x, @.weight f32[64,64] : f32[1,32,64] in block.0
         %g = mul %l, %gain : f32[1,32,64] in block.0
         %r = add %x, %g : f32[1,32,64] in block.0
         %n = layer_norm %r {eps=1e-6} : f32[1,32,64] in block.0
         %o = linear %n, @.out f32[64,64] : f32[1,32,64] in block.0
         %s = add %o, %r : f32[1,32,64] in block.0
         return %s",
    ),
    // A branch beside a linear is more steps of its product; so is a second branch.
    ("branch", BRANCH),
    // And a branch beside one of the linears that were merged.
    ("branch_of_segment", BRANCH_OF_SEGMENT),
    // Blocks are fused by themselves, and what is in none is too.
    (
        "blocks",
        "%a = silu %x : f32[1,32,64] in block.0
         %b = silu %a : f32[1,32,64] in block.0
         %c = silu %b : f32[1,32,64] in block.1
         %d = silu %c : f32[1,32,64] in block.1
         %e = silu %d : f32[1,32,64]
         return %e",
    ),
    // So small a product costs less than another kernel.
    (
        "two_readers",
        "%l = linear %x, @.weight f32[64,64] : f32[1,32,64] in block.0
         %a = silu %l : f32[1,32,64] in block.0
         %b = gelu %l : f32[1,32,64] in block.0
         return %a, %b",
    ),
];

const BRANCH: &str = "
    %l = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[1,32,64] in block.0
    %a = linear %x, @.a f32[4,64] : f32[1,32,4] in block.0
    %b = linear %a, @.b f32[64,4] : f32[1,32,64] in block.0
    %c = linear %x, @.c f32[8,64] : f32[1,32,8] in block.0
    %d = linear %c, @.d f32[64,8] : f32[1,32,64] in block.0
    %s = add %l, %b : f32[1,32,64] in block.0
    %t = add %d, %s : f32[1,32,64] in block.0
    %g = gelu_tanh %t : f32[1,32,64] in block.0
    return %g";

const BRANCH_OF_SEGMENT: &str = "
    %l = linear %x, @.weight f32[192,64], @.bias f32[192] : f32[1,32,192] in block.0
    %q = slice %l {axis=-1, start=0, end=64} : f32[1,32,64] in block.0
    %v = slice %l {axis=-1, start=64, end=192} : f32[1,32,128] in block.0
    %a = linear %x, @.a f32[4,64] : f32[1,32,4] in block.0
    %b = linear %a, @.b f32[128,4] : f32[1,32,128] in block.0
    %s = add %v, %b : f32[1,32,128] in block.0
    %n = rms_norm %q, @.norm f32[64] {eps=1e-6} : f32[1,32,64] in block.0
    %g = gelu_tanh %s : f32[1,32,128] in block.0
    return %n, %g";

/// The lines of the case called `name`.
fn lines_of(name: &str) -> &'static str {
    CASES.iter().find(|(case, _)| *case == name).unwrap_or_else(|| panic!("there is no case `{name}`")).1
}

#[test]
fn what_becomes_one() {
    for (case, lines) in CASES {
        let text = sketch(&INPUTS, lines);
        assert_settled(case, &program(&text), "fuse");
        snapshot!(format!("fuse__{case}"), story(&text, "fuse"));
    }
}

#[test]
fn what_stays_as_it_is() {
    let cases: [Case; 5] = [
        ("integers", "%a = add %ids, %ids : i32[4]\n%b = mul %a, %a : i32[4]\nreturn %b"),
        (
            "views",
            "%a = slice %x {axis=1, start=0, end=8} : f32[1,8,64]\n%b = concat %a, %y {axis=1} : f32[1,16,64]\nreturn %b",
        ),
        (
            "attention",
            "%a = reshape %x {shape=[1, 32, 4, 16]} : f32[1,32,4,16]\n%b = attention %a, %a, %a {scale=0.25} : f32[1,32,4,16]\nreturn %b",
        ),
        ("conversions to integers", "%a = cast %x {dtype=i32} : i32[1,32,64]\nreturn %a"),
        (
            "fused already",
            "%a = rowwise silu(%x) * %gain : f32[1,32,64]\n%b = gemm linear(%a, @w f32[64,64]) {%x + acc} : f32[1,32,64]\nreturn %b",
        ),
    ];
    for (case, lines) in cases {
        assert_unchanged(case, &program(&sketch(&INPUTS, lines)), "fuse");
    }
    // One scale for a whole tensor is known only when all of it is.
    let text = "%a = quantize %x {dtype=i8, scales=tensor.f32, eps=1e-5} : i8.tensor.f32[1,32,64]
         %b = dequantize %a {dtype=f32} : f32[1,32,64]\nreturn %b";
    assert_unchanged("a scale of the whole tensor", &program(&sketch(&INPUTS, text)), "fuse");
}

/// A product of two readers is computed once, unless that costs more.
#[test]
fn costs_decide() {
    let large = ["%x : f32[1,4096,3072] latent"];
    let lines = "%l = linear %x, @.weight f32[3072,3072] : f32[1,4096,3072] in block.0
         %a = silu %l : f32[1,4096,3072] in block.0
         %b = gelu %l : f32[1,4096,3072] in block.0
         return %a, %b";
    let gemms = |program: &Program| run(program, "fuse").0.variants["main"].op_counts()["gemm"];
    assert_eq!(gemms(&program(&sketch(&large, lines))), 1);
    // A small one costs less than reading its result again.
    assert_eq!(gemms(&program(&sketch(&INPUTS, lines_of("two_readers")))), 2);
    // The dearest terms are other ones, and cost more.
    for (case, lines) in CASES {
        let before = program(&sketch(&INPUTS, lines));
        let cost = |program: &Program| Machine::named("h100").unwrap().of_graph(&program.variants["main"]);
        let (best, worst) = (run(&before, "fuse").0, run(&before, "fuse(extract=worst)").0);
        assert!(cost(&best) <= cost(&before), "{case}");
        assert!(cost(&best) < cost(&worst), "{case}: {best}\n{worst}");
    }
}

/// Everything before fusing.
const PREPARED: &str = "canonicalize,hoist,canonicalize,merge-linear";
const QUANTIZED: &str =
    "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),merge-linear";

/// A net with names and shapes of its own, and FLUX with every kind of quantization and cache in any combination: after
/// fusing, no step has an op that works element by element by itself, no norm, and no linear.
#[test]
fn nothing_element_wise_stands_by_itself() {
    let net = run(&program(NET), "hoist,merge-linear,fuse,dce").0;
    assert_all_fused("net", &net);
    let times = flux_dev_times(1024, 8);
    let flux = flux_dev(1024, 8);
    for quantize in [
        "",
        "quantize(int8dq),",
        "quantize(int8dq,exclude=norm+embedding),",
        "quantize(int8wo),",
        "quantize(fp8dqrow,skip=[*.1.attn]),",
    ] {
        for cache in [
            "",
            "cache(fora),",
            "cache(pab),",
            "cache(fastercache),",
            "cache(fora-paper),",
            "cache(fora),cache(pab),",
        ] {
            let passes = format!("canonicalize,hoist,canonicalize,{quantize}{cache}merge-linear,fuse,dce");
            let (fused, report) =
                try_run_at(&flux, &passes, Some(&times)).unwrap_or_else(|e| panic!("{passes}: {e}"));
            assert_all_fused(&passes, &fused);
            assert_saturated(&passes, &report);
        }
    }
}

fn assert_all_fused(case: &str, program: &Program) {
    for (name, graph) in &program.variants {
        for (op, count) in op_counts(graph) {
            let stays = ["rowwise", "gemm", "attention", "select", "slice", "reshape", "concat"];
            assert!(stays.contains(&op), "{case}, variant {name}: {count} × {op}");
        }
    }
}

/// Each run of egg must end because nothing new can be said, and each search because all was seen.
fn assert_saturated(case: &str, report: &PipelineReport) {
    let notes: Vec<_> = report.passes.iter().flat_map(|pass| &pass.notes).collect();
    assert!(notes.iter().any(|note| note.contains("terms in")), "{case}");
    assert!(!report.is_cut_short(), "{case}: {notes:?}");
}

/// Ops by kind, without what is no op: inputs, weights and numbers.
fn op_counts(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for id in graph.ids().filter(|&id| graph.is_op(id)) {
        *counts.entry(graph[id].op.name()).or_default() += 1;
    }
    counts
}

/// The step of FLUX.1-dev, op by op: a fusion that stops firing shows here.
#[test]
fn ops_of_a_step() {
    let mut text = String::new();
    for (name, passes) in [("bf16", PREPARED), ("int8dq, norm+embedding excluded", QUANTIZED)] {
        for passes in [passes.to_owned(), format!("{passes},fuse,dce")] {
            let (program, report) = flux_dev_after(&passes);
            let ops: Vec<_> = op_counts(&program.variants["full"])
                .iter()
                .map(|(op, count)| format!("{count} {op}"))
                .collect();
            let time = Machine::named("h100").unwrap().of_graph(&program.variants["full"]) as f64 / 1e6;
            writeln!(text, "# {name}: {passes}\n{}\n{time:.1} ms on an H100, estimated", ops.join(", "))
                .unwrap();
            if passes.ends_with("dce") {
                writeln!(text, "=> {}", report.passes[report.passes.len() - 2].timeless()).unwrap();
                assert_saturated(name, &report);
            }
            text.push('\n');
        }
    }
    snapshot!("fuse__ops_of_a_step", text);
}

#[test]
fn flux_dev_fused() {
    let (program, report) = flux_dev_after(&format!("{PREPARED},fuse,dce"));
    snapshot!("fuse__flux_dev", format!("{}\n{program}", log(&report)));
    let (again, report) = run(&program, "fuse,dce");
    assert!(report.passes.iter().all(|pass| !pass.changed), "{report}\n{again}");
    let (program, report) = flux_dev_after(&format!("{QUANTIZED},fuse,dce"));
    snapshot!("fuse__flux_dev_int8dq", format!("{}\n{program}", log(&report)));
}

/// A rule, a program that comes near its pattern, and what is still there after fusing.
type Refused = (&'static str, &'static str, &'static str);

/// Where each rule must not apply: for most, its ops are there, and applying it would be wrong or slow.
const MUST_NOT: [Refused; 11] = [
    // A formula gives floating-point numbers or codes.
    ("op-to-rowwise", "%a = cast %x {dtype=i32} : i32[1,32,64]\nreturn %a", "cast"),
    // A product of two activations has no weight.
    (
        "linear-to-gemm",
        "%t = transpose %y {perm=[0, 2, 1]} : f32[1,64,8]\n%a = matmul %x, %t : f32[1,32,8]\nreturn %a",
        "matmul",
    ),
    // Sums of codes that somebody else reads as integers have to be there.
    (
        "rescale-to-gemm",
        "%q = quantize %x {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,32,64]
         %p = quantize %y {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,8,64]
         %a = matmul_i8 %q, @w i8.row.f32[64,64] : i32[1,32,64]
         %b = matmul_i8 %p, @w i8.row.f32[64,64] : i32[1,8,64]
         %c = concat %a, %b {axis=1} : i32[1,40,64]
         return %c",
        "matmul_i8",
    ),
    // The norm of one row would be computed again in each of 32.
    (
        "rowwise-absorbs-rowwise",
        "%n = layer_norm %gain {eps=1e-6} : f32[1,1,64]\n%a = add %x, %n : f32[1,32,64]\nreturn %a",
        "rowwise",
    ),
    // A norm needs whole rows, and a gemm has tiles of them.
    (
        "gemm-absorbs-rowwise",
        "%l = linear %x, @.weight f32[64,64] : f32[1,32,64]\n%n = layer_norm %l {eps=1e-6} : f32[1,32,64]\nreturn %n",
        "rowwise",
    ),
    // Of one row for all, a product is computed once and not for each.
    (
        "gemm-absorbs-product",
        "%l = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[1,32,64]
         %m = linear %gain, @.other f32[64,64] : f32[1,1,64]
         %a = add %l, %m : f32[1,32,64]
         return %a",
        "gemm",
    ),
    (
        "segment-absorbs-rowwise",
        "%l = linear %x, @.weight f32[192,64] : f32[1,32,192]
         %s = slice %l {axis=-1, start=0, end=64} : f32[1,32,64]
         %n = layer_norm %s {eps=1e-6} : f32[1,32,64]
         return %n",
        "rowwise",
    ),
    // What is added to the activation of a product is not added to the product.
    (
        "segment-absorbs-product",
        "%l = linear %x, @.weight f32[192,64] : f32[1,32,192]
         %s = slice %l {axis=-1, start=0, end=64} : f32[1,32,64]
         %g = silu %s : f32[1,32,64]
         %m = linear %x, @.other f32[64,64], @.bias f32[64] : f32[1,32,64]
         %a = add %g, %m : f32[1,32,64]
         return %a",
        "gemm",
    ),
    // These columns are computed by one product alone.
    (
        "segments-beside",
        "%l = linear %x, @.weight f32[192,64] : f32[1,32,192]
         %m = linear %x, @.other f32[192,64] : f32[1,32,192]
         %s = slice %l {axis=-1, start=0, end=64} : f32[1,32,64]
         %t = slice %m {axis=-1, start=0, end=64} : f32[1,32,64]
         return %s, %t",
        "slice",
    ),
    // Heads that are put together share the rows of the table.
    (
        "rope-of-concat",
        "%a = reshape %y {shape=[1, 8, 4, 16]} : f32[1,8,4,16]
         %c = concat %a, %a {axis=2} : f32[1,8,8,16]
         %t = slice %angles {axis=1, start=0, end=8} : f32[2,8,8]
         %r = rope %c, %t : f32[1,8,8,16]
         return %r",
        "concat",
    ),
    // The scale of a row is of all its parts.
    (
        "quantize-of-concat",
        "%c = concat %x, %x {axis=2} : f32[1,32,128]
         %q = quantize %c {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[1,32,128]
         %d = dequantize %q {dtype=f32} : f32[1,32,128]
         return %d",
        "concat",
    ),
];

/// Every rule has a program that it must leave alone, whatever the other rules make of it.
#[test]
fn every_rule_has_its_limits() {
    let named: Vec<_> = MUST_NOT.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(named, RULES.iter().map(|rule| rule.name).collect::<Vec<_>>());
    for (rule, lines, left) in MUST_NOT {
        let (after, report) = run(&program(&sketch(&INPUTS, lines)), "fuse");
        assert_eq!(only(&report).rules[rule].hits, 0, "{rule} applies to\n{lines}");
        assert!(after.variants["main"].op_counts().contains_key(left), "{rule}: no {left} in\n{after}");
    }
}

/// A rule whose replacement is of another type is a bug, and an error in every build.
#[test]
fn a_mistyped_rule_is_an_error() {
    const ANY_UNARY: SpineOp = SpineOp { name: "a unary op", is: |op| matches!(op, Op::Unary(_)) };
    const MISTYPED: FuseRule = FuseRule {
        name: "mistyped",
        pattern: "f(x) → cast(x), which rounds",
        spine: &[ANY_UNARY],
        rewrite: |_, found| {
            let x = found.levels[0].operands[0];
            Ok(vec![Tree::over(Cast { dtype: DType::F16 }, vec![x])])
        },
    };
    let mut pipeline = Pipeline::new();
    pipeline.push(Fuse { rules: &[MISTYPED], ..Fuse::default() });
    let before = program(&sketch(&INPUTS, "%a = silu %x : f32[1,32,64]\nreturn %a"));
    let error = Driver::default().run(before, &pipeline).unwrap_err().to_string();
    for part in ["mistyped", "f16[1,32,64]", "f32[1,32,64]", "bug"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

/// What each scheme of `quantize` leaves to run in a step of FLUX.1-dev, before and after fusing: whatever is quantized,
/// and however.
#[test]
fn ops_of_a_step_by_scheme() {
    let about = (registry().get("quantize").unwrap().about)();
    let schemes = &about.options.iter().find(|option| option.name == "scheme").unwrap().values;
    assert!(schemes.len() > 4, "{schemes:?}");
    let mut text = String::new();
    for scheme in schemes {
        let quantized = format!(
            "canonicalize,hoist,canonicalize,quantize({},exclude=norm+embedding),merge-linear",
            scheme.name
        );
        writeln!(text, "# {}", scheme.name).unwrap();
        for passes in [quantized.clone(), format!("{quantized},fuse,dce")] {
            let (program, _) = flux_dev_after(&passes);
            let counts = op_counts(&program.variants["full"]);
            let ops: Vec<_> = counts.iter().map(|(op, count)| format!("{count} {op}")).collect();
            writeln!(text, "{}", ops.join(", ")).unwrap();
        }
        text.push('\n');
    }
    snapshot!("fuse__schemes", text);
}

/// What each rule is worth: a step's time on an H100, estimated, without it.
#[test]
fn what_rules_are_worth() {
    let mut text = String::new();
    for (name, passes) in [("bf16", PREPARED), ("int8dq, norm+embedding excluded", QUANTIZED)] {
        let (before, _) = flux_dev_after(passes);
        let time = |program: &Program| {
            Machine::named("h100").unwrap().of_graph(&program.variants["full"]) as f64 / 1e6
        };
        let fused = |rules: Vec<FuseRule>| {
            let mut pipeline = Pipeline::new();
            pipeline.push(Fuse { rules: rules.leak(), ..Fuse::default() });
            time(&Driver::default().run(before.clone(), &pipeline).unwrap().0)
        };
        let all = fused(RULES.to_vec());
        writeln!(text, "# {name}: {:.1} ms before, {all:.1} ms after", time(&before)).unwrap();
        for rule in RULES {
            let without = fused(RULES.iter().filter(|other| other.name != rule.name).copied().collect());
            assert!(without >= all, "{} makes it slower", rule.name);
            writeln!(text, "{:<24} {:>5.1} ms more without it", rule.name, without - all).unwrap();
        }
        text.push('\n');
    }
    snapshot!("fuse__worth", text);
}

/// Programs of rules that find nothing in FLUX: the name of the rule, and a case on which it fires.
const FIRES_ON: &[Case] = &[
    ("gemm-absorbs-product", BRANCH),
    ("segment-absorbs-product", BRANCH_OF_SEGMENT),
    ("quantize-of-concat", CODES_OF_CONCAT),
];

const CODES_OF_CONCAT: &str = "%n = rms_norm %x, @.gain f32[64] {eps=1e-6} : f32[1,32,64]
     %m = rms_norm %y, @.gain f32[64] {eps=1e-6} : f32[1,8,64]
     %c = concat %n, %m {axis=1} : f32[1,40,64]
     %q = quantize %c {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[1,40,64]
     %d = dequantize %q {dtype=f32} : f32[1,40,64]
     return %d";

/// Every rule is of use: for FLUX, or for a program that it names.
#[test]
fn every_rule_fires() {
    let mut unused: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    for (rule, lines) in FIRES_ON {
        let (_, report) = run(&program(&sketch(&INPUTS, lines)), "fuse");
        assert!(only(&report).rules[rule].hits > 0, "{rule} does not fire on its program");
        unused.retain(|unused| unused != rule);
    }
    for passes in [PREPARED, QUANTIZED] {
        let (_, report) = flux_dev_after(&format!("{passes},fuse"));
        let fuse = report.passes.last().unwrap();
        unused.retain(|rule| fuse.rules[rule].hits == 0);
    }
    assert!(unused.is_empty(), "{unused:?}");
}

/// Every fused value has a proof, and every proof holds: egg checks its form, and each step is what its rule makes of the
/// term before.
#[test]
fn proofs_hold() {
    let mut text = String::new();
    for passes in [PREPARED, QUANTIZED] {
        let (before, _) = flux_dev_after(passes);
        let (after, _) = run(&before, "fuse");
        let mut proofs = Fuse::default().proofs(&before).unwrap();
        proofs.retain_mut(Proof::is_found);
        proofs.iter_mut().for_each(|proof| proof.check(RULES));
        // One block of each kind is proven: the first.
        let graph = &after.variants["full"];
        let before = &before.variants["full"];
        for id in graph.ids().filter(|&id| graph[id].op.is_fused() && before.find(&graph[id].name).is_some())
        {
            let name = &graph[id].name;
            let is_first = name.split_index().is_none_or(|(_, index)| index == 0);
            assert!(!is_first || proofs.iter().any(|proof| proof.value == *name), "%{name} has no proof");
        }
        if passes == PREPARED {
            proofs.iter_mut().for_each(|proof| writeln!(text, "{}\n", proof.explanation()).unwrap());
        }
    }
    snapshot!("fuse__proofs", text);
}

/// A step that another rule made than the one that it names is no proof.
#[test]
fn a_mislabelled_step_is_found() {
    let (before, _) = flux_dev_after(PREPARED);
    let mut proofs = Fuse::default().proofs(&before).unwrap();
    let mut mislabelled = RULES.to_vec();
    let [a, b] = ["rowwise-absorbs-rowwise", "gemm-absorbs-rowwise"]
        .map(|name| RULES.iter().position(|rule| rule.name == name).unwrap());
    (mislabelled[a].name, mislabelled[b].name) = (RULES[b].name, RULES[a].name);
    let names_one = |proof: &mut Proof| {
        proof
            .explanation()
            .steps
            .iter()
            .any(|(rule, _)| [RULES[a].name, RULES[b].name].contains(&rule.as_str()))
    };
    let mut found = 0;
    for proof in proofs.iter_mut().filter_map(|proof| names_one(proof).then_some(proof)) {
        let checked = catch_unwind(AssertUnwindSafe(|| proof.check(&mislabelled)));
        assert!(checked.is_err(), "%{}", proof.value);
        found += 1;
    }
    assert!(found > 5, "{found}");
}

/// What nothing reads is dropped before ops are fused, and is not explained either.
#[test]
fn what_is_explained_is_what_results() {
    let lines = "
        %g = linear %x, @w f32[64,64] : f32[1,32,64] in block.0
        %o = mul %g, 2.0 : f32[1,32,64] in block.0
        %unread = add %g, 1.0 : f32[1,32,64] in block.1
        return %o";
    let before = program(&sketch(&INPUTS, lines));
    let explained: Vec<_> =
        Fuse::default().proofs(&before).unwrap().iter().map(|proof| proof.value.to_string()).collect();
    let after = run(&before, "fuse").0;
    let left: Vec<_> = after.variants[0].ids().filter(|&id| !after.variants[0].is_leaf(id)).collect();
    assert_eq!((explained, left.len()), (vec!["o".to_owned()], 2), "{after}");
}

/// A weight may be called like a value, and be read as it is and as codes: a proof tells them apart.
#[test]
fn proofs_tell_leaves_apart_that_are_called_alike() {
    let lines = "
        %gain2 = linear %gain, @gain f32[64,64] : f32[1,1,64]
        %n = layer_norm %x {eps=1e-6} : f32[1,32,64]
        %q = quantize %n {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,32,64]
        %a = matmul_i8 %q, @gain i8.row.f32[64,64] : i32[1,32,64]
        %l = rescale %a, %q, @gain i8.row.f32[64,64] {dtype=f32} : f32[1,32,64]
        %s = mul %l, %gain2 : f32[1,32,64]
        %r = add %s, %gain : f32[1,32,64]
        return %r";
    let before = program(&sketch(&INPUTS, lines));
    let mut proofs = Fuse::default().proofs(&before).unwrap();
    proofs.iter_mut().for_each(|proof| proof.check(RULES));
    let text: String = proofs.iter_mut().map(|proof| format!("{}\n", proof.explanation())).collect();
    for written in ["%gain", "@gain f32[64,64]", "@gain i8.row.f32[64,64]"] {
        assert!(text.contains(written), "{written} is not in\n{text}");
    }
    let (driven, _) =
        Driver { explain: true, ..Driver::default() }.run(before.clone(), &passes::pipeline("fuse")).unwrap();
    assert_eq!(driven, run(&before, "fuse").0);
}

/// Where fusing explains itself is the pass's own doing, for whoever asks.
#[test]
fn explanations_are_of_the_pass() {
    let before = program(&sketch(&INPUTS, lines_of("residual")));
    let explanations = Fuse::default().explain(&before).unwrap();
    let values: Vec<_> = explanations.iter().map(|explanation| explanation.value.to_string()).collect();
    assert_eq!(values, ["r"]);
}

#[test]
fn a_device_without_a_table_is_refused() {
    let refused = Pipeline::parse("fuse(device=abacus)", &reflux_passes::registry()).unwrap_err();
    assert_eq!(refused.to_string(), "pass `fuse`: `device` cannot be `abacus`; it is one of h100, l40s, cpu");
}

/// What runs once is left as it is.
#[test]
fn prepare_stages_stay() {
    let (before, _) = flux_dev_after(PREPARED);
    let (after, _) = run(&before, "fuse");
    for rate in [Rate::Weights, Rate::Prompt, Rate::Schedule] {
        assert!(before.prepares[&rate] == after.prepares[&rate]);
    }
    assert!(only(&run(&before, "fuse").1).changed);
}
