//! The quantize pass: what a linear becomes, which linears it takes, and what it says of them.

use crate::common::passes::{
    self, NET, assert_same, assert_settled, assert_unchanged, flux_dev, log, program, refusal, run, sketch,
    story,
};
use reflux_ir::{Op, Program, Rate};
use std::collections::BTreeSet;
use std::fmt::Write;

const SCHEMES: [&str; 6] = ["int8dq", "int8wo", "fp8dq", "fp8dqrow", "fp8wo", "int4wo"];

/// The lines of the only variant.
fn body(program: &Program) -> String {
    let text = program.to_string();
    let lines = text.lines().skip_while(|line| !line.starts_with("  variant")).skip(1);
    lines
        .take_while(|line| !line.starts_with("    return"))
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

/// What two linears of one input become, one of them with a bias, by scheme, by rule, and by element type.
#[test]
fn schemes() {
    let linears = |dtype: &str| {
        let body = "%y = linear %x, @y.weight f32[64,256], @y.bias f32[64] : f32[2,3,64] in y
                    %z = linear %x, @z.weight f32[32,256] : f32[2,3,32] in z
                    return %y, %z";
        program(&sketch(&["%x : f32[2,3,256] latent"], body).replace("f32", dtype))
    };
    let mut text = String::new();
    for scheme in SCHEMES {
        for (rule, dtype) in
            [("torchao-v1", "bf16"), ("torchao-v1", "f32"), ("torchao-v1", "f16"), ("f32", "bf16")]
        {
            let passes = format!("quantize({scheme},rule={rule})");
            let (program, _) = run(&linears(dtype), &passes);
            writeln!(text, "# {passes} of {dtype}\n{}", body(&program)).unwrap();
            let again = format!("quantize({scheme},rule={rule},allow_nothing=true)");
            assert_settled(&passes, &linears(dtype), &again);
        }
    }
    snapshot!("quantize__schemes", text);
}

/// Weights that are computed, products that are no linears, and look-ups stay.
#[test]
fn only_linears_of_weights() {
    let text = sketch(
        &[
            "%x : f32[2,32] latent",
            "%w : f32[32,32] prompt",
            "%ids : i32[2] prompt",
            "%image : f32[1,32,4,4] latent",
        ],
        "%a = linear %x, %w : f32[2,32]
         %b = matmul %a, @b f32[32,32] : f32[2,32]
         %c = embedding %ids, @c f32[8,32] : f32[2,32]
         %d = add %b, %c : f32[2,32]
         %e = conv2d %image, @e f32[32,32,1,1] {padding=0} : f32[1,32,4,4]
         return %d, %e",
    );
    for scheme in SCHEMES {
        assert_unchanged(scheme, &program(&text), &format!("quantize({scheme},allow_nothing=true)"));
        let refused = refusal(&program(&text), &format!("quantize({scheme})"));
        assert!(
            refused.contains("there is nothing to quantize: no linear has an unquantized weight"),
            "{refused}"
        );
    }
}

/// Which of the modules `names` are quantized.
fn quantized(program: &Program) -> BTreeSet<String> {
    let graphs = program.stages().flat_map(|(_, graph)| graph.ids().map(move |id| &graph[id]));
    graphs.filter(|node| node.op.name() == "matmul_i8").map(|node| node.path.to_string()).collect()
}

/// A program of one linear for each `name=features×rows`.
fn modules(modules: &[(&str, usize, usize)]) -> Program {
    let mut inputs = Vec::new();
    let mut body = String::new();
    for (index, (path, features, rows)) in modules.iter().enumerate() {
        inputs.push(format!("%x.{index} : f32[{rows},{features}] latent"));
        writeln!(body, "%y.{index} = linear %x.{index}, @.w f32[8,{features}] : f32[{rows},8] in {path}")
            .unwrap();
    }
    let results = (0..modules.len()).map(|index| format!("%y.{index}")).collect::<Vec<_>>().join(", ");
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    program(&sketch(&inputs, &format!("{body}return {results}")))
}

#[test]
fn selection() {
    let all = [
        ("blocks.1.attn.to_q", 32, 4),
        ("blocks.1.attn.to_k", 32, 4),
        ("blocks.10.attn.to_q", 32, 4),
        ("blocks.1.norm1.linear", 32, 1),
        ("blocks.1.ff.net.0.proj", 32, 4),
        ("time_embedding", 32, 1),
        ("narrow", 16, 4),
        ("proj_out", 17, 16),
    ];
    // By their places in the list.
    let cases: [(&str, &[usize]); 14] = [
        ("quantize", &[0, 1, 2, 3, 4, 5, 7]),
        ("quantize(exclude=none)", &[0, 1, 2, 3, 4, 5, 7]),
        ("quantize(exclude=norm)", &[0, 1, 2, 4, 5, 7]),
        ("quantize(exclude=embedding)", &[0, 1, 2, 3, 4, 7]),
        ("quantize(exclude=norm+embedding)", &[0, 1, 2, 4, 7]),
        ("quantize(include=blocks.1)", &[0, 1, 3, 4]),
        ("quantize(include=blocks.1,exclude=norm)", &[0, 1, 4]),
        ("quantize(include=*.to_[qk])", &[0, 1, 2]),
        ("quantize(include=[blocks.10,proj_out])", &[2, 7]),
        ("quantize(include=blocks.1?.*)", &[2]),
        ("quantize(skip=*.attn)", &[3, 4, 5, 7]),
        ("quantize(include=blocks.*,skip=[*.norm?,*.ff])", &[0, 1, 2]),
        ("quantize(keep_rows=1)", &[0, 1, 2, 4, 7]),
        ("quantize(keep_rows=15)", &[7]),
    ];
    let program = modules(&all);
    for (passes, expected) in cases {
        let (after, report) = run(&program, passes);
        let expected: BTreeSet<String> = expected.iter().map(|&index| all[index].0.to_owned()).collect();
        assert_eq!(quantized(&after), expected, "{passes}");
        let note = format!(
            "{} of {} linears quantized, {} left",
            expected.len(),
            all.len(),
            all.len() - expected.len()
        );
        assert!(report.passes[0].notes[0].starts_with(&note), "{}", report.passes[0].notes[0]);
    }
    // So narrow a module stays for its input alone, so other schemes take it.
    let (weights_only, _) = run(&program, "quantize(int8wo)");
    assert_eq!(weights_only.variants["main"].op_counts()["matmul_w8"], all.len());
    snapshot!(
        "quantize__reasons",
        log(&run(&program, "quantize(exclude=norm,include=blocks.1,skip=*.attn)").1)
    );
}

#[test]
fn patterns_that_match_nothing_are_refused() {
    let program = program(NET);
    let mut text = String::new();
    for passes in [
        "quantize(include=layer)",
        "quantize(include=[layers.0,layers.2,*.linn])",
        "quantize(skip=layers.?.attn)",
        "quantize(include=head.*,skip=[hint,tail])",
    ] {
        writeln!(text, "# {passes}\n{}\n", refusal(&program, passes)).unwrap();
    }
    let nothing = sketch(&["%x : f32[2] latent"], "%y = silu %x : f32[2]\nreturn %y");
    writeln!(text, "# no linears at all\n{}", refusal(&passes::program(&nothing), "quantize(include=a)"))
        .unwrap();
    snapshot!("quantize__refusals", text);
}

/// An input that several linears read is quantized once; by passes of other schemes, once each.
#[test]
fn shared_inputs_are_quantized_once() {
    let text = sketch(
        &["%x : f32[2,32] latent"],
        "%n = layer_norm %x {eps=1e-6} : f32[2,32]
         %q = linear %n, @.w f32[32,32] : f32[2,32] in attn.q
         %k = linear %n, @.w f32[32,32] : f32[2,32] in attn.k
         %v = linear %n, @.w f32[32,32] : f32[2,32] in attn.v
         %f = linear %n, @.w f32[32,32] : f32[2,32] in ff
         %g = linear %n, @.w f32[32,32] : f32[2,32] in gate
         %qk = add %q, %k : f32[2,32]
         %vf = add %v, %f : f32[2,32]
         return %qk, %vf, %g",
    );
    let passes = "quantize(int8dq,include=attn),quantize(fp8dqrow,include=ff),quantize(int8dq,include=gate)";
    snapshot!("quantize__twice", story(&text, passes));
    let (after, _) = run(&program(&text), passes);
    let counts = after.variants["main"].op_counts();
    assert_eq!((counts["quantize"], counts["matmul_i8"], counts["matmul_f8"]), (2, 4, 1));
}

/// Passes over modules that are apart do the same in either order.
#[test]
fn passes_over_other_modules_commute() {
    let (one, other) = ("quantize(int8wo,include=layers.*.lin)", "quantize(fp8dq,include=[head,hint])");
    let run = |passes: String| run(&program(NET), &passes).0;
    assert_same("either order", &run(format!("{one},{other}")), &run(format!("{other},{one}")));
}

#[test]
fn another_network() {
    snapshot!("quantize__net", story(NET, "quantize(int8dq,keep_rows=1)"));
    // What is prepared is quantized where it is prepared.
    let (hoisted, _) = run(&program(NET), "canonicalize,hoist,quantize");
    assert_eq!(hoisted.prepares[&Rate::Schedule].op_counts()["matmul_i8"], 2);
    assert_eq!(hoisted.prepares[&Rate::Prompt].op_counts()["matmul_i8"], 1);
}

/// How many linears are left and how many are products of codes, in all stages.
fn linears_and_products(program: &Program) -> (usize, usize) {
    let graphs = || program.stages().flat_map(|(_, graph)| graph.ids().map(move |id| &graph[id].op));
    let products = graphs().filter(|op| matches!(op, Op::MatmulCodes(_))).count();
    (graphs().filter(|op| matches!(op, Op::Linear(_))).count(), products)
}

/// The presets leave the modules of FLUX.1-dev that Pruna's leave, hoisted or not.
#[test]
fn presets_on_flux_dev() {
    let program = flux_dev(1024, 28);
    for (preset, left) in [("none", 0), ("norm", 77), ("embedding", 8), ("norm+embedding", 85)] {
        for before in ["", "canonicalize,hoist,"] {
            let (after, _) = run(&program, &format!("{before}quantize(int8dq,exclude={preset})"));
            assert_eq!(linears_and_products(&after), (left, 504 - left), "{before} {preset}");
        }
    }
}

#[test]
fn patterns_on_flux_dev() {
    let program = flux_dev(1024, 28);
    let cases = [
        ("include=transformer_blocks.1", 14, "transformer_blocks.1."),
        ("include=single_transformer_blocks.1,exclude=norm", 5, "single_transformer_blocks.1."),
        ("include=transformer_blocks.18.ff", 2, "transformer_blocks.18.ff.net."),
        ("include=proj_out", 1, "proj_out"),
    ];
    for (options, count, prefix) in cases {
        let (after, _) = run(&program, &format!("quantize(int8dq,{options})"));
        let paths = quantized(&after);
        assert_eq!(paths.len(), count, "{paths:?}");
        assert!(paths.iter().all(|path| path.starts_with(prefix)), "{paths:?}");
    }
}

#[test]
fn flux_dev_in_int8() {
    let passes = "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding)";
    let (program, mut report) = passes::flux_dev_after(passes);
    snapshot!("quantize__flux_dev", program);
    report.passes.drain(..3);
    snapshot!("quantize__flux_dev_report", log(&report));
}
