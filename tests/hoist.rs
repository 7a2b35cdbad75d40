//! The hoist pass: what leaves the step, for which stage, and what stays.

use crate::common::passes::{NET, assert_settled, assert_unchanged, flux_dev_after, program, sketch, story};
use reflux_ir::Rate;

/// What leaves the step, by itself.
const LEAVING: [(&str, &[&str], &str); 10] = [
    (
        // Each in the stage in which it is known, and nothing in a later one; what a later stage reads, it is handed.
        "rates",
        &["%x : f32[2,4] latent", "%w : f32[4,4] weights", "%p : f32[2,4] prompt", "%s : f32[2,4] schedule"],
        "%table = matmul %w, %w : f32[4,4]
         %scaled = mul %table, 0.5 : f32[4,4]
         %text = linear %p, %scaled : f32[2,4] in text
         %guide = linear %s, @guide f32[4,4] : f32[2,4]
         %both = add %guide, %text : f32[2,4]
         %deep = linear %both, %scaled : f32[2,4]
         %y = linear %x, %table : f32[2,4]
         %z = add %y, %text : f32[2,4]
         %out = add %z, %deep : f32[2,4]
         return %out",
    ),
    (
        // What only weights make: nothing has to be known at all.
        "weights",
        &["%x : f32[1,7,2,4] latent"],
        "%ids = position_ids {text=3, rows=2, columns=2} : f32[7,3]
         %table = rope_table %ids {axes=[2, 2, 0], theta=10000.0} : f32[2,7,2]
         %norm = layer_norm @gain f32[4] {eps=1e-6} : f32[4]
         %turned = rope %x, %table : f32[1,7,2,4]
         %y = mul %turned, %norm : f32[1,7,2,4]
         return %y",
    ),
    (
        // All steps at once: the ops on the way from the table get an axis in front, and the step selects last.
        "steps",
        &["%x : f32[3,4] latent", "%times : f32[5] schedule", "%step : i32[] latent"],
        "%t = select %times, %step : f32[]
         %half = mul %t, 0.5 : f32[]
         %wave = timestep_embedding %half {dim=8, max_period=100.0} : f32[8]
         %grid = reshape %wave {shape=[4, 2]} : f32[4,2]
         %turned = transpose %grid {perm=[1, 0]} : f32[2,4]
         %part = slice %turned {axis=0, start=1, end=2} : f32[1,4]
         %pair = concat %part, %turned {axis=0} : f32[3,4]
         %norm = rms_norm %pair, @gain f32[4] {eps=1e-6} : f32[3,4]
         %mod = linear %norm, @w f32[4,4], @b f32[4] : f32[3,4]
         %y = add %x, %mod : f32[3,4]
         return %y",
    ),
    (
        // Operands of a lower rank are brought to that of the result, or steps would meet rows.
        "ranks",
        &[
            "%x : f32[5,4] latent",
            "%times : f32[5,4] schedule",
            "%step : i32[] latent",
            "%p : f32[5,4] prompt",
        ],
        "%t = select %times, %step : f32[4]
         %scale = silu %t : f32[4]
         %sum = add %scale, %p : f32[5,4]
         %more = mul %sum, %scale : f32[5,4]
         %norm = linear %more, @w f32[4,4] : f32[5,4]
         %y = mul %x, %norm : f32[5,4]
         return %y",
    ),
    (
        // Codes go with their scales.
        "codes",
        &["%x : f32[1,32] latent", "%times : f32[5,1] schedule", "%step : i32[] latent"],
        "%t = select %times, %step : f32[1]
         %wave = timestep_embedding %t {dim=32, max_period=100.0} : f32[1,32]
         %codes = quantize %wave {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,32]
         %acc = matmul_i8 %codes, @w i8.row.f32[32,32] : i32[1,32]
         %mod = rescale %acc, %codes, @w i8.row.f32[32,32], @b f32[32] {dtype=f32} : f32[1,32]
         %y = add %x, %mod : f32[1,32]
         return %y",
    ),
    (
        // Values of one stem are one tensor if their types agree.
        "stems",
        &["%x : f32[2,4] latent", "%p : f32[2,4] prompt"],
        "repeat %i in 0..3 in blocks.{i} {
           %a = linear %p, @.a f32[4,4] : f32[2,4]
         }
         %a.3 = linear %p, @last f32[1,4] : f32[2,1]
         %sum.0 = add %x, %a.0 : f32[2,4]
         repeat %i in 1..4 {
           %sum = add %sum.{i-1}, %a.{i} : f32[2,4]
         }
         return %sum.3",
    ),
    (
        // Names that are taken are left to who has them.
        "names",
        &[
            "%x : f32[1,4] latent",
            "%t : f32[5,4] schedule",
            "%step : i32[] latent",
            "%mod_steps : f32[1,4] latent",
        ],
        "%mod_now = select %t, %step : f32[4]
         repeat %i in 0..2 in blocks.{i} {
           %mod = linear %mod_now, @.w f32[4,4] : f32[4]
         }
         %a = add %x, %mod.0 : f32[1,4]
         %b = add %a, %mod.1 : f32[1,4]
         %y = add %b, %mod_steps : f32[1,4]
         return %y",
    ),
    (
        // A result that is known early is handed on.
        "results",
        &["%x : f32[2,4] latent", "%p : f32[2,4] prompt"],
        "%q = linear %p, @w f32[4,4] : f32[2,4]
         %y = add %x, %q : f32[2,4]
         return %y, %q",
    ),
    (
        // Numbers of codes are made where they are read, and not kept.
        "codes_stay_codes",
        &["%x : f32[1,32] latent", "%p : f32[1,32] prompt"],
        "%v = dequantize @v q8_0[32,32] {dtype=f32} : f32[32,32]
         %w = dequantize @w i8.row.f32[32,32] {dtype=f32} : f32[32,32]
         %q = linear %p, %v : f32[1,32]
         %r = linear %q, %w : f32[1,32]
         %y = add %x, %r : f32[1,32]
         return %y",
    ),
    (
        // Of a value of many rows, what few of them are made of still leaves.
        "rows",
        &["%x : f32[17,4] latent", "%t : f32[5,4] schedule", "%step : i32[] latent"],
        "%row = select %t, %step : f32[4]
         %few = linear %row, @w f32[4,4] : f32[4]
         %many = concat %few, %few, %few, %few, %few, %few, %few, %few, %few {axis=0} : f32[36]
         %tall = reshape %many {shape=[36, 1]} : f32[36,1]
         %wide = linear %tall, @v f32[4,1] : f32[36,4]
         %part = slice %wide {axis=0, start=0, end=17} : f32[17,4]
         %y = add %x, %part : f32[17,4]
         return %y",
    ),
];

#[test]
fn what_leaves() {
    for (case, inputs, body) in LEAVING {
        let text = sketch(inputs, body);
        snapshot!(format!("hoist__{case}"), story(&text, "hoist"));
        assert_settled(case, &program(&text), "hoist");
    }
}

/// A network that is not FLUX; that of the two blocks is first made one.
#[test]
fn another_network() {
    snapshot!("hoist__net", story(NET, "canonicalize,hoist,canonicalize"));
}

/// Stages that are there already are added to: what they prepare is read there, and names are theirs.
#[test]
fn stages_that_are_there() {
    let text = "\
program p {
  input %x : f32[2,4] latent
  input %p : f32[2,4] prompt
  input %s : f32[2,4] schedule
  input %known : f32[2,4] prompt
  prepare prompt (%p, %known) -> (%q, %r) {
    %q = silu %p : f32[2,4]
    %r = gelu %known : f32[2,4]
    return %q, %r
  }
  variant main (%x, %p, %s, %q) -> (%y) {
    %r = linear %p, @w f32[4,4] : f32[2,4]
    %known = linear %q, @w f32[4,4] : f32[2,4]
    %late = linear %s, @w f32[4,4] : f32[2,4]
    %z = matmul %late, @v f32[4,4] : f32[2,4]
    %a = linear %known, @w f32[4,4] : f32[2,4]
    %b = add %a, %z : f32[2,4]
    %c = linear %b, @w f32[4,4] : f32[2,4]
    %d = add %x, %r : f32[2,4]
    %y = add %d, %c : f32[2,4]
    return %y
  }
  schedule main*4
}
";
    snapshot!("hoist__stages", story(text, "hoist"));
    assert_settled("stages", &program(text), "hoist");
}

#[test]
fn what_stays() {
    let cases: [(&str, &[&str], &str); 11] = [
        (
            "what the latents make",
            &["%x : f32[2,4] latent"],
            "%y = linear %x, @w f32[4,4] : f32[2,4]\nreturn %y",
        ),
        (
            "views, which cost nothing",
            &["%x : f32[2,4] latent", "%p : f32[8] prompt"],
            "%q = reshape %p {shape=[2, 4]} : f32[2,4]
             %r = slice %q {axis=0, start=0, end=1} : f32[1,4]
             %y = add %x, %r : f32[2,4]
             return %y",
        ),
        (
            "the selected row itself",
            &["%x : f32[2,4] latent", "%t : f32[5,4] schedule", "%step : i32[] latent"],
            "%row = select %t, %step : f32[4]
             %y = add %x, %row : f32[2,4]
             return %y",
        ),
        (
            "element-wise work on what is read anyway",
            &["%x : f32[2,4] latent", "%p : f32[2,4] prompt"],
            "%q = add %p, 1.0 : f32[2,4]
             %y = mul %x, %q : f32[2,4]
             %z = add %y, %p : f32[2,4]
             return %z",
        ),
        (
            "element-wise work on parts of what is read anyway",
            &["%x : f32[2,4] latent", "%t : f32[5,8] schedule", "%step : i32[] latent"],
            "%row = select %t, %step : f32[8]
             %shift = slice %row {axis=0, start=0, end=4} : f32[4]
             %scale = slice %row {axis=0, start=4, end=8} : f32[4]
             %factor = add %scale, 1.0 : f32[4]
             %y = mul %x, %factor : f32[2,4]
             %z = add %y, %shift : f32[2,4]
             return %z",
        ),
        (
            "what grows: numbers of codes",
            &["%x : f32[2,4] latent"],
            "%w = dequantize @w i8.row.f32[4,4] {dtype=f32} : f32[4,4]
             %y = linear %x, %w : f32[2,4]
             return %y",
        ),
        (
            "rows in number",
            &["%x : f32[17,4] latent", "%t : f32[5,68] schedule", "%step : i32[] latent"],
            "%row = select %t, %step : f32[68]
             %rows = reshape %row {shape=[17, 4]} : f32[17,4]
             %q = linear %rows, @w f32[4,4] : f32[17,4]
             %y = add %x, %q : f32[17,4]
             return %y",
        ),
        (
            "what has one scale for all of a tensor",
            &["%x : f32[1,4] latent", "%t : f32[5,4] schedule", "%step : i32[] latent"],
            "%row = select %t, %step : f32[4]
             %codes = quantize %row {dtype=f8e4m3, scales=tensor.f32, eps=1e-12} : f8e4m3.tensor.f32[4]
             %acc = matmul_f8 %codes, @w f8e4m3.tensor.f32[4,4] : f32[4]
             %q = rescale %acc, %codes, @w f8e4m3.tensor.f32[4,4] {dtype=f32} : f32[4]
             %y = add %x, %q : f32[1,4]
             return %y",
        ),
        (
            "what mixes rows with something that is the same in every step",
            &[
                "%x : f32[2,4] latent",
                "%p : f32[1,4] prompt",
                "%t : f32[5,1,4] schedule",
                "%step : i32[] latent",
            ],
            "%row = select %t, %step : f32[1,4]
             %pair = concat %row, %p {axis=0} : f32[2,4]
             %y = add %x, %pair : f32[2,4]
             return %y",
        ),
        (
            "tables of another number of rows",
            &[
                "%x : f32[4] latent",
                "%t : f32[5,4] schedule",
                "%u : f32[6,4] schedule",
                "%step : i32[] latent",
            ],
            "%row = select %t, %step : f32[4]
             %other = select %u, %step : f32[4]
             %q = linear %other, @w f32[4,4] : f32[4]
             %a = add %x, %row : f32[4]
             %y = add %a, %q : f32[4]
             return %y",
        ),
        (
            "rows that something other than the step selects",
            &["%x : f32[4] latent", "%t : f32[5,4] schedule", "%ids : i32[2] latent"],
            "%last = argmax %ids : i32[]
             %row = select %t, %last : f32[4]
             %q = linear %row, @w f32[4,4] : f32[4]
             %y = add %x, %q : f32[4]
             return %y",
        ),
    ];
    for (case, inputs, body) in cases {
        assert_unchanged(case, &program(&sketch(inputs, body)), "hoist");
    }
}

/// All modulations of FLUX.1-dev, and what it makes of its prompt and its size, leave the step.
#[test]
fn flux_dev() {
    let (program, _) = flux_dev_after("canonicalize,hoist");
    snapshot!("hoist__flux_dev", program);
    let step = &program.variants["full"];
    let modulations = ["norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear", "embedder"];
    for (weight, _) in step.weights() {
        let is_left =
            modulations.iter().any(|module| weight.contains(module)) && !weight.starts_with("x_embedder");
        assert!(!is_left, "{weight} is still read in the step");
    }
    let parameters = |rate: Rate| -> usize {
        program.prepares[&rate].weights().map(|(_, fact)| fact.shape.elements()).sum()
    };
    // 19 · 2 · 6 + 38 · 3 + 2 times 3072 outputs of 3072 inputs and a bias, and the embedders of time and guidance.
    let modulated = (19 * 2 * 6 + 38 * 3 + 2) * 3072 * 3073;
    let embedders = 2 * (3072 * 257 + 3072 * 3073);
    assert_eq!(parameters(Rate::Schedule), modulated + embedders);
    assert_eq!(parameters(Rate::Prompt), 3072 * 4097 + 3072 * 769 + 3072 * 3073);
    assert_eq!(parameters(Rate::Weights), 0);
    assert_unchanged("again", &program, "hoist");
}
