//! IR text: what is written parses, what is parsed prints, and both mean the same.

use crate::common::programs::PROGRAMS;
use reflux_ir::op::{Attention, LayerNorm, OpKind, Real, RelativeBuckets};
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{DType, DType::F32};
use reflux_ir::{Fact, Granularity, GraphBuilder, Machine, Name, Op, Program, Rate, Scales, Scope, verify};
use std::collections::BTreeSet;
use std::fmt::Write;

fn print_unrolled(program: &Program) -> String {
    program.print(&PrintOptions { unrolled: true, ..PrintOptions::default() })
}

/// The program whose only variant computes `%y` from `%x: f32[2,4]` and `%z: f32[2,4]` by `body`.
fn program(body: &str) -> String {
    let lines: String = body.trim().lines().map(|line| format!("    {}\n", line.trim())).collect();
    let inputs = "  input %x : f32[2,4] latent\n  input %z : f32[2,4] latent\n";
    format!(
        "program p {{\n{inputs}  variant main (%x, %z) -> (%y) {{\n{lines}    return %y\n  }}\n  schedule main\n}}\n"
    )
}

/// Which side of an operator a constant is on is part of the formula.
#[test]
fn formulas_keep_their_constants_where_they_are() {
    let mut programs = Vec::new();
    for formula in [
        "0.5 - %x",
        "%x - 0.5",
        "1.0 / %x",
        "%x / 2.0",
        "2.0 - (0.5 - %x)",
        "(2.0 - 0.5) - %x",
        "0.5 - %x * (1.0 / %z)",
        "silu(1e-6 - %x) - -3.0",
    ] {
        let text = program(&format!("%y = rowwise {formula} : f32[2,4]"));
        let parsed = parse(&text).unwrap_or_else(|error| panic!("{formula}: {error}"));
        let printed = parsed.to_string();
        assert_eq!(parse(&printed).unwrap(), parsed, "{formula}");
        assert!(!programs.contains(&parsed), "{formula} reads like another formula");
        programs.push(parsed);
    }
}

/// Values carried per block, as cache passes make them: blocks that write them, that read them by index, of which only
/// the first or the last ones do either.
const CACHING: &str = "\
program caching {
  input %x : f32[2,4] latent
  input %mods : f32[2,32] schedule
  carry %attn.{0..4} : f32[2,4] latent
  carry %ff.{0..4} : f32[2,4] latent
  variant full (%x, %mods) -> (%v, %attn.{0..4}, %ff.{0..4}) {
    repeat %i in 0..4 (%h.prev = %x) in blocks.{i} {
      %shift = slice %mods {axis=-1, start={8*i}, end={8*i+4}} : f32[2,4]
      %attn = linear %h.prev, @.weight f32[4,4] : f32[2,4] in .attn
      %mid = add %h.prev, %attn : f32[2,4]
      %n = add %mid, %shift : f32[2,4]
      %f = linear %n, @.weight f32[4,4] : f32[2,4] in .ff
      %h = add %mid, %f : f32[2,4]
      yield %h
    }
    return %h.3, %attn.{0..4}, %f.{0..4}
  }
  variant reuse (%x, %attn.{0..4}, %ff.{0..4}) -> (%v) {
    repeat %i in 0..4 (%h.prev = %x) in blocks.{i} {
      %mid = add %h.prev, %attn.{i} : f32[2,4]
      %h = add %mid, %ff.{i} : f32[2,4]
      yield %h
    }
    return %h.3
  }
  variant first (%x, %mods, %attn.{1..4}) -> (%v, %attn.0, %ff.{0..4}) {
    %h.0 = linear %x, @.weight f32[4,4] : f32[2,4] in blocks.0.attn
    %f.0 = linear %h.0, @.weight f32[4,4] : f32[2,4] in blocks.0.ff
    repeat %i in 1..4 (%h.prev = %h.0) in blocks.{i} {
      %h = add %h.prev, %attn.{i} : f32[2,4]
      %f = linear %h, @.weight f32[4,4] : f32[2,4] in .ff
      yield %h
    }
    return %h.3, %h.0, %f.{0..4}
  }
  variant last (%x, %attn.{0..2}, %ff.{0..2}) -> (%v, %attn.{2..4}) {
    repeat %i in 0..2 (%h.prev = %x) in blocks.{i} {
      %mid = add %h.prev, %attn.{i} : f32[2,4]
      %h = add %mid, %ff.{i} : f32[2,4]
      yield %h
    }
    repeat %i in 2..4 (%h.prev = %h.1) in blocks.{i} {
      %attn = linear %h.prev, @.weight f32[4,4] : f32[2,4] in .attn
      %h = add %h.prev, %attn : f32[2,4]
      yield %h
    }
    return %h.3, %attn.{2..4}
  }
  schedule full reuse*2 first last
}
";

/// Codes with scales, carried, computed and as weights; every op over them.
const QUANTIZED: &str = "\
program quantized {
  input %x : bf16[2,8] latent
  carry %q.{0..2} : i8.row.bf16[2,8] latent
  variant main (%x) -> (%y, %q.{0..2}) {
    repeat %i in 0..2 (%h.prev = %x) in blocks.{i} {
      %q = quantize %h.prev {dtype=i8, scales=row.bf16, quant_min=-127, eps=1e-5} : i8.row.bf16[2,8]
      %acc = matmul_i8 %q, @.weight i8.row.bf16[8,8] : i32[2,8]
      %h = rescale %acc, %q, @.weight i8.row.bf16[8,8], @.bias bf16[8] {dtype=bf16} : bf16[2,8]
      yield %h
    }
    %codes = quantize %h.1 {dtype=f8e4m3, scales=tensor.f32, eps=1e-12} : f8e4m3.tensor.f32[2,8] in mid
    %sum = matmul_f8 %codes, @.weight f8e4m3.tensor.f32[8,8] : f32[2,8] in mid
    %mid = rescale %sum, %codes, @.weight f8e4m3.tensor.f32[8,8] {dtype=bf16} : bf16[2,8] in mid
    %product = matmul_w8 %mid, @.weight i8.row.bf16[8,8] : bf16[2,8] in out
    %out = rescale %product, @.weight i8.row.bf16[8,8] {dtype=bf16} : bf16[2,8] in out
    %w = dequantize @out.weight u4.group4.bf16[8,8] {dtype=bf16} : bf16[8,8] in tail
    %y = linear %out, %w : bf16[2,8] in tail
    return %y, %q.{0..2}
  }
  variant reuse (%q.{0..2}) -> (%y) {
    repeat %i in 0..2 {
      %h = dequantize %q.{i} {dtype=bf16} : bf16[2,8]
    }
    %y = add %h.0, %h.1 : bf16[2,8]
    return %y
  }
  schedule main reuse
}
";

/// Programs that are written as they print.
/// On several devices.
const DIVIDED: &str = "\
program divided {
  input %x : f32[1,9,4,2] latent
  variant main (%x) -> (%y) {
    %own = shard %x {devices=3, axis=1, parts=[2, 7]} : f32[1,4,4,2]
    %heads = all_to_all %own {devices=3, split=2, concat=1, concat_parts=[2, 7]} : f32[1,9,2,2]
    %back = all_to_all %heads {devices=3, split=1, concat=2, split_parts=[2, 7], concat_parts=[4]} : f32[1,4,4,2]
    %y = all_gather %back {devices=3, axis=1, parts=[2, 7]} : f32[1,9,4,2]
    return %y
  }
  schedule main
}
";

fn programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.into_iter().chain([CACHING, QUANTIZED, DIVIDED])
}

#[test]
fn programs_print_as_they_are_written() {
    for text in programs() {
        let program = parse(text).unwrap_or_else(|error| panic!("{error}"));
        verify(&program).unwrap();
        assert_eq!(program.to_string(), text);
    }
}

#[test]
fn programs_mean_the_same_unrolled() {
    for text in programs() {
        let (program, unrolled) = (parse(text).unwrap(), print_unrolled(&parse(text).unwrap()));
        assert!(!unrolled.contains("repeat") && !unrolled.contains(".."), "{unrolled}");
        assert_eq!(parse(&unrolled).unwrap(), program);
    }
}

/// What blocks read by index, and what they slice, rolls out of single lines.
#[test]
fn caches_roll() {
    let unrolled = print_unrolled(&parse(CACHING).unwrap());
    assert_eq!(parse(&unrolled).unwrap().to_string(), CACHING);
    snapshot!("text__caching_unrolled", unrolled);
}

/// Lists of names, and how they print where they count up.
#[test]
fn names_fold() {
    let cases = [
        ("%x, %a.0, %a.1, %a.2, %y", "%x, %a.{0..3}, %y"),
        ("%a.0, %a.1, %b.0, %b.1", "%a.{0..2}, %b.{0..2}"),
        ("%a.0, %b.0, %a.1, %b.1", "%a.0, %b.0, %a.1, %b.1"),
        ("%a.9, %a.10, %a.12, %a.13", "%a.{9..11}, %a.{12..14}"),
        ("%a.2, %a.1, %a.0", "%a.2, %a.1, %a.0"),
        ("%a, %a.0, %a.1, %a.1.2", "%a, %a.{0..2}, %a.1.2"),
        ("%a.0.0, %a.0.1, %a.1.0", "%a.0.{0..2}, %a.1.0"),
        ("%0, %1, %2.0, %2.1", "%0, %1, %2.{0..2}"),
        ("%a.007, %a.008", "%a.007, %a.008"),
        ("%a.08, %a.9, %a.10", "%a.08, %a.{9..11}"),
        ("%a.00, %a.1, %a.02, %a.3", "%a.00, %a.1, %a.02, %a.3"),
        (
            "%a.4294967294, %a.4294967295, %a.4294967296, %a.4294967297",
            "%a.{4294967294..4294967296}, %a.4294967296, %a.4294967297",
        ),
        (
            "%a.18446744073709551615, %a.18446744073709551616, %a.0",
            "%a.18446744073709551615, %a.18446744073709551616, %a.0",
        ),
    ];
    for keyword in ["input", "carry"] {
        for (singly, folded) in cases {
            let text = |names: &str| {
                let declare = |name| format!("  {keyword} {name} : f32[2] latent\n");
                let declarations: String = names.split(", ").map(declare).collect();
                let stage = format!("variant v ({names}) -> ({names}) {{\n    return {names}\n  }}");
                format!("program p {{\n{declarations}  {stage}\n  schedule v\n}}\n")
            };
            let program = parse(&text(singly)).unwrap();
            assert_eq!(program.to_string(), text(folded));
            assert_eq!(print_unrolled(&program), text(singly));
            assert_eq!(parse(&text(folded)).unwrap(), program);
        }
    }
}

/// Operands, and how they print where three or more values count up.
#[test]
fn operands_fold() {
    let cases = [
        ("%x, %a.0, %a.1, %a.2, %y", "%x, %a.{0..3}, %y"),
        ("%a.0, %a.1, %b.0, %b.1", "%a.0, %a.1, %b.0, %b.1"),
        ("%a.0, %a.1, %a.2, %a.1, %a.2, %a.3", "%a.{0..3}, %a.{1..4}"),
        ("%a.0, %a.1, @a.2 f32[2], %a.2, %a.3", "%a.0, %a.1, @a.2 f32[2], %a.2, %a.3"),
        ("@a.0 f32[2], @a.1 f32[2], @a.2 f32[2]", "@a.0 f32[2], @a.1 f32[2], @a.2 f32[2]"),
        ("%a.2, %a.1, %a.0", "%a.2, %a.1, %a.0"),
        ("%a.8, %a.09, %a.9, %a.10, %a.11", "%a.8, %a.09, %a.{9..12}"),
        ("%a.1.0, %a.1.1, %a.1.2, %a.2", "%a.1.{0..3}, %a.2"),
        (
            "%a.4294967293, %a.4294967294, %a.4294967295, %a.4294967296",
            "%a.{4294967293..4294967296}, %a.4294967296",
        ),
    ];
    for (singly, folded) in cases {
        let names: BTreeSet<_> = singly.split(", ").filter_map(|operand| operand.strip_prefix('%')).collect();
        let declared: String =
            names.iter().map(|name| format!("  input %{name} : f32[2] latent\n")).collect();
        let inputs = names.iter().map(|name| format!("%{name}")).collect::<Vec<_>>().join(", ");
        let (extent, plain) =
            (2 * singly.split(", ").count(), PrintOptions { unrolled: true, ..Default::default() });
        let text = |operands: &str| {
            let line = format!("%out = concat {operands} {{axis=0}} : f32[{extent}]");
            format!(
                "program p {{\n{declared}  variant v ({inputs}) -> (%out) {{\n    {line}\n    return %out\n  }}\n  schedule v\n}}\n"
            )
        };
        let program = parse(&text(singly)).unwrap();
        assert_eq!(parse(&text(folded)).unwrap(), program);
        let line = |text: String| text.lines().find(|line| line.contains("concat")).unwrap().to_owned();
        assert_eq!(line(program.to_string()), line(text(folded)));
        assert_eq!(line(program.print(&plain)), line(text(singly)));
    }
}

/// In a block, a range holds the same values in every round: outer ones, or the block's own. What advances does not fold.
#[test]
fn operands_of_blocks_fold() {
    let text = program(
        "repeat %i in 0..5 {
           %m = silu %x : f32[2,4]
         }
         repeat %i in 0..3 (%h.prev = %z) in blocks.{i} {
           %a.0 = silu %h.prev : f32[2,4]
           %a.1 = gelu %h.prev : f32[2,4]
           %a.2 = silu %a.1 : f32[2,4]
           %all = concat %m.{1..5}, %a.{0..3}, %m.{i}, %m.{i+1}, %m.{i+2} {axis=0} : f32[20,4]
           %h = slice %all {axis=0, start=0, end=2} : f32[2,4]
           yield %h
         }
         %y = silu %h.2 : f32[2,4]",
    );
    let parsed = parse(&text).unwrap();
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&parsed.to_string()), trimmed(&text));
    let unrolled = print_unrolled(&parsed);
    assert!(
        unrolled.contains(
            "%all.1 = concat %m.1, %m.2, %m.3, %m.4, %a.0.1, %a.1.1, %a.2.1, %m.1, %m.2, %m.3 {axis=0}"
        ),
        "{unrolled}"
    );
    assert_eq!(parse(&unrolled).unwrap(), parsed);
}

/// Declarations fold as far as type and rate agree; of what is returned, values fold, also those returned twice.
#[test]
fn only_what_agrees_folds() {
    let text = "\
program p {
  input %a.{0..2} : f32[2] latent
  input %a.{2..4} : f32[2] prompt
  input %a.4 : f32[3] prompt
  input %a.{5..7} : i8[3] prompt
  input %a.{7..9} : i8.row.f32[3] prompt
  carry %a.{9..11} : f32[2] latent
  prepare weights () -> (%w.{0..4}) {
    return @w.0 f32[2], @w.1 f32[2], 1.0 f32, 2.0 f32
  }
  variant v (%a.{0..11}) -> (%y.{0..6}) {
    return %a.0, %a.{0..3}, @a.3 f32[2], %a.4
  }
  schedule v
}
";
    let program = parse(text).unwrap();
    assert_eq!(program.to_string(), text);
    assert_eq!(parse(&print_unrolled(&program)).unwrap(), program);
}

/// Types of codes name their scales; those of numbers do not.
#[test]
fn types_of_codes() {
    let codes = |dtype, shape: &[usize], per, scales| {
        Fact::new(dtype, shape).scaled(Scales { per, dtype: scales }).at(Rate::Latent)
    };
    let cases = [
        ("i8[2,3]", Fact::new(DType::I8, [2, 3]).at(Rate::Latent)),
        ("i8.row.bf16[2,3]", codes(DType::I8, &[2, 3], Granularity::Row, DType::BF16)),
        ("f8e4m3.tensor.f32[]", codes(DType::F8E4M3, &[], Granularity::Tensor, F32)),
        ("u4.group128.f16[4,256]", codes(DType::U4, &[4, 256], Granularity::Group(128), DType::F16)),
    ];
    for (written, fact) in cases {
        let text = format!(
            "program p {{\n  input %x : {written} latent\n  variant v (%x) -> (%y) {{\n    return %x\n  }}\n  schedule v\n}}\n"
        );
        let program = parse(&text).unwrap();
        assert_eq!(program.inputs[0].fact, fact);
        assert_eq!(program.to_string(), text);
    }
}

#[test]
fn every_op_is_written_somewhere() {
    let programs: Vec<_> = programs().map(|text| parse(text).unwrap()).collect();
    let graphs = programs.iter().flat_map(|program| program.stages().map(|(_, graph)| graph));
    let used: BTreeSet<_> = graphs.flat_map(|graph| graph.op_counts().into_keys()).collect();
    // `tests/every_op.rs` prints each that works element by element, and those that only networks from elsewhere have.
    let elsewhere = ["where", "softmax", "sum", "amax", "max_pool2d", "avg_pool2d"];
    let others = Op::kinds().filter(|(name, kind)| *kind != OpKind::Elementwise && !elsewhere.contains(name));
    let missing: Vec<_> = others.map(|(name, _)| name).filter(|name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What may be written otherwise than it prints.
#[test]
fn other_spellings_mean_the_same() {
    let canonical = program("%y = layer_norm %x, @m.w f32[4], @m.b f32[4] {eps=1e-6} : f32[2,4] in m");
    let spellings = [
        ("a weight by its full name", canonical.replace("@.w", "@m.w")),
        ("tabs, comments and CRLF", canonical.replace("  ", "\t").replace('\n', " // a comment\r\n")),
        ("everything on one line", canonical.replace('\n', " ")),
        (
            "no spaces around punctuation",
            canonical.replace(" : ", ":").replace(" = ", "=").replace(", ", ","),
        ),
        ("a longer number", canonical.replace("1e-6", "+0.000001000")),
        ("steps one by one", canonical.replace("schedule main", "schedule main*0 main*1")),
    ];
    for (what, text) in spellings {
        assert_eq!(
            parse(&text).unwrap_or_else(|error| panic!("{what}: {error}")),
            parse(&canonical).unwrap()
        );
    }
}

/// The headers of the repeated blocks of a program, after checking that rolling loses nothing.
fn repeats(program: &Program) -> Vec<String> {
    let text = program.to_string();
    assert_eq!(parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}")), *program, "\n{text}");
    let blocks = text.lines().filter_map(|line| line.trim().strip_prefix("repeat %i in "));
    blocks.map(|header| header.trim_end_matches(" {").to_owned()).collect()
}

/// Bodies that are or are not repetitive, and the blocks that are found in them.
#[test]
fn rolling() {
    let cases: [(&str, &[&str], &str); 26] = [
        (
            "a chain",
            &["0..3 (%a.prev = %x) in b.{i}"],
            "
            %a.0 = silu %x : f32[2,4] in b.0
            %a.1 = silu %a.0 : f32[2,4] in b.1
            %a.2 = silu %a.1 : f32[2,4] in b.2
            %y = silu %a.2 : f32[2,4]",
        ),
        (
            "rounds without a path in common",
            &["0..2 (%b.prev = %x)"],
            "
            %a.0 = silu %x : f32[2,4] in left
            %b.0 = silu %a.0 : f32[2,4] in right
            %a.1 = silu %b.0 : f32[2,4] in left
            %b.1 = silu %a.1 : f32[2,4] in right
            %y = silu %b.1 : f32[2,4]",
        ),
        (
            "independent values",
            &["4..7"],
            "
            %a.4 = slice %x {axis=1, start=0, end=2} : f32[2,2]
            %a.5 = slice %x {axis=1, start=1, end=3} : f32[2,2]
            %a.6 = slice %x {axis=1, start=2, end=4} : f32[2,2]
            %y = concat %a.4, %a.6 {axis=1} : f32[2,4]",
        ),
        (
            "two stacks one after the other",
            &["0..2 (%a.prev = %x)", "0..2 (%b.prev = %a.1)"],
            "
            %a.0 = silu %x : f32[2,4]
            %a.1 = silu %a.0 : f32[2,4]
            %b.0 = gelu %a.1 : f32[2,4]
            %b.1 = gelu %b.0 : f32[2,4]
            %y = silu %b.1 : f32[2,4]",
        ),
        (
            "a first round that reads something else",
            &["1..4 (%b.prev = %b.0)"],
            "
            %a.0 = add %x, %z : f32[2,4]
            %b.0 = silu %a.0 : f32[2,4]
            %a.1 = add %b.0, %b.0 : f32[2,4]
            %b.1 = silu %a.1 : f32[2,4]
            %a.2 = add %b.1, %b.1 : f32[2,4]
            %b.2 = silu %a.2 : f32[2,4]
            %a.3 = add %b.2, %b.2 : f32[2,4]
            %b.3 = silu %a.3 : f32[2,4]
            %y = silu %b.3 : f32[2,4]",
        ),
        (
            "a first round with an op of its own",
            &["1..3 (%b.prev = %b.0)"],
            "
            %a.0 = silu %x : f32[2,4]
            %only.0 = gelu %a.0 : f32[2,4]
            %b.0 = silu %only.0 : f32[2,4]
            %a.1 = silu %b.0 : f32[2,4]
            %b.1 = silu %a.1 : f32[2,4]
            %a.2 = silu %b.1 : f32[2,4]
            %b.2 = silu %a.2 : f32[2,4]
            %y = silu %b.2 : f32[2,4]",
        ),
        (
            "a round in the middle that reads something else",
            &["0..2 (%a.prev = %x)", "3..5 (%a.prev = %a.2)"],
            "
            %a.0 = add %x, %z : f32[2,4]
            %a.1 = add %a.0, %z : f32[2,4]
            %a.2 = add %a.1, %x : f32[2,4]
            %a.3 = add %a.2, %z : f32[2,4]
            %a.4 = add %a.3, %z : f32[2,4]
            %y = silu %a.4 : f32[2,4]",
        ),
        (
            "rounds with something between them",
            &["0..2 (%a.prev = %x)", "2..4 (%a.prev = %between)"],
            "
            %a.0 = silu %x : f32[2,4]
            %a.1 = silu %a.0 : f32[2,4]
            %between = gelu %a.1 : f32[2,4]
            %a.2 = silu %between : f32[2,4]
            %a.3 = silu %a.2 : f32[2,4]
            %y = silu %a.3 : f32[2,4]",
        ),
        (
            "a round with something within it, and rounds left out",
            &["5..7 (%b.prev = %b.0)"],
            "
            %a.0 = silu %x : f32[2,4]
            %within = gelu %a.0 : f32[2,4]
            %b.0 = silu %within : f32[2,4]
            %a.5 = silu %b.0 : f32[2,4]
            %b.5 = silu %a.5 : f32[2,4]
            %a.6 = silu %b.5 : f32[2,4]
            %b.6 = silu %a.6 : f32[2,4]
            %a.9 = silu %b.6 : f32[2,4]
            %y = silu %a.9 : f32[2,4]",
        ),
        (
            "an op that differs",
            &[],
            "
            %a.0 = silu %x : f32[2,4]
            %a.1 = gelu %a.0 : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "an attribute that differs",
            &[],
            "
            %a.0 = layer_norm %x {eps=1e-6} : f32[2,4]
            %a.1 = layer_norm %a.0 {eps=1e-5} : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "an attribute that is there once",
            &[],
            "
            %r = reshape %x {shape=[1, 2, 2, 2]} : f32[1,2,2,2]
            %a.0 = attention %r, %r, %r {scale=1.0} : f32[1,2,2,2]
            %a.1 = attention %a.0, %r, %r {scale=1.0, causal=true} : f32[1,2,2,2]
            %y = reshape %a.1 {shape=[2, 4]} : f32[2,4]",
        ),
        (
            "an attribute that breaks its line in the last round",
            &["0..2"],
            "
            %a.0 = slice %x {axis=1, start=0, end=1} : f32[2,1]
            %a.1 = slice %x {axis=1, start=1, end=2} : f32[2,1]
            %a.2 = slice %x {axis=1, start=3, end=4} : f32[2,1]
            %y = add %x, %a.2 : f32[2,4]",
        ),
        (
            "a fact that differs",
            &[],
            "
            %a.0 = linear %x, @w.0 f32[4,4] : f32[2,4]
            %a.1 = linear %a.0, @w.1 f32[3,4] : f32[2,3]
            %y = linear %a.1, @w.2 f32[4,3] : f32[2,4]",
        ),
        (
            "a weight of another stem",
            &["0..2 (%a.prev = %x)"],
            "
            %a.0 = linear %x, @w.0 f32[4,4] : f32[2,4]
            %a.1 = linear %a.0, @w.1 f32[4,4] : f32[2,4]
            %a.2 = linear %a.1, @v.2 f32[4,4] : f32[2,4]
            %y = silu %a.2 : f32[2,4]",
        ),
        (
            "a weight name with a leading zero",
            &[],
            "
            %a.0 = linear %x, @w.07 f32[4,4] : f32[2,4]
            %a.1 = linear %a.0, @w.08 f32[4,4] : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "a weight and a path that start with the index",
            &[],
            "
            %a.0 = linear %x, @0.w f32[4,4] : f32[2,4] in 0
            %a.1 = linear %a.0, @1.w f32[4,4] : f32[2,4] in 1
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "a number that differs",
            &[],
            "
            %a.0 = mul %x, 1.0 : f32[2,4]
            %a.1 = mul %a.0, 2.0 : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "zeros that differ",
            &[],
            "
            %a.0 = add %x, 0.0 : f32[2,4]
            %a.1 = add %a.0, -0.0 : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "an operand in another place",
            &[],
            "
            %a.0 = sub %x, %z : f32[2,4]
            %a.1 = sub %z, %a.0 : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "more operands",
            &[],
            "
            %a.0 = concat %x, %z {axis=0} : f32[4,4]
            %a.1 = concat %a.0 {axis=0} : f32[4,4]
            %y = slice %a.1 {axis=0, start=0, end=2} : f32[2,4]",
        ),
        (
            "indices that skip one",
            &[],
            "
            %a.0 = silu %x : f32[2,4]
            %a.2 = silu %a.0 : f32[2,4]
            %a.4 = silu %a.2 : f32[2,4]
            %y = silu %a.4 : f32[2,4]",
        ),
        (
            "an outer value called like one of the block",
            &[],
            "
            %a = gelu %x : f32[2,4]
            %a.0 = silu %a : f32[2,4]
            %b.0 = silu %a.0 : f32[2,4]
            %a.1 = silu %a : f32[2,4]
            %b.1 = silu %a.1 : f32[2,4]
            %y = silu %b.1 : f32[2,4]",
        ),
        (
            "an outer value called like a carried one",
            &[],
            "
            %a.prev = gelu %x : f32[2,4]
            %a.0 = add %x, %a.prev : f32[2,4]
            %a.1 = add %a.0, %a.prev : f32[2,4]
            %y = silu %a.1 : f32[2,4]",
        ),
        (
            "a value of the block called like a carried one",
            &[],
            "
            %a.0 = silu %x : f32[2,4]
            %a.prev.0 = silu %a.0 : f32[2,4]
            %a.1 = add %a.0, %a.prev.0 : f32[2,4]
            %a.prev.1 = silu %a.1 : f32[2,4]
            %a.2 = add %a.1, %a.prev.1 : f32[2,4]
            %a.prev.2 = silu %a.2 : f32[2,4]
            %y = add %a.prev.2, %a.prev.1 : f32[2,4]",
        ),
        (
            "indices at the end of their range",
            &[],
            "
            %a.9223372036854775806 = silu %x : f32[2,4]
            %a.9223372036854775807 = silu %a.9223372036854775806 : f32[2,4]
            %b.4294967295 = silu %a.9223372036854775807 : f32[2,4]
            %b.4294967296 = silu %b.4294967295 : f32[2,4]
            %y = silu %b.4294967296 : f32[2,4]",
        ),
    ];
    for (case, expected, body) in cases {
        let program = parse(&program(body)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(repeats(&program), expected, "{case}:\n{program}");
    }
}

/// The largest indices that the text can write roll, and parse.
#[test]
fn the_last_indices_roll() {
    let body = "
        %a.4294967294 = silu %x : f32[2,4]
        %a.4294967295 = silu %a.4294967294 : f32[2,4]
        %y = silu %a.4294967295 : f32[2,4]";
    let program = parse(&program(body)).unwrap();
    assert_eq!(repeats(&program), ["4294967294..4294967296 (%a.prev = %x)"]);
    // Those behind them stand by themselves.
    let body = body.replace("%y = silu", "%a.4294967296 = silu %a.4294967295 : f32[2,4]\n%y = silu");
    let longer = parse(&self::program(&body)).unwrap();
    assert_eq!(repeats(&longer), ["4294967294..4294967296 (%a.prev = %x)"]);
}

/// A weight that nothing reads is not printed, so it does not count.
#[test]
fn unread_weights_do_not_count() {
    let mut graph = GraphBuilder::new();
    let mut scope = Scope::new(&mut graph, F32);
    let x = scope.input("x", F32, [2], reflux_ir::Rate::Latent).unwrap();
    let a = scope.unary("a", reflux_ir::op::Unary::Silu, x).unwrap();
    let late = scope.weight("late", [2]).unwrap();
    let y = scope.binary("y", reflux_ir::op::Binary::Add, a, late).unwrap();
    scope.weight("unread", [2]).unwrap();
    scope.output("y", y);
    let program = Program::of_graph("p", "main", 1, graph.finish());
    let parsed = parse(&program.to_string()).unwrap();
    assert_eq!((parsed.weights().len(), program.weights().len()), (1, 2));
    assert_eq!(parsed, program);
}

#[test]
fn numbers_keep_every_bit() {
    let reals = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        1e-6,
        1e10,
        1e16,
        1e300,
        0.1,
        1.0 / 3.0,
        123_456_789.125,
        9_007_199_254_740_993.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
    ];
    for real in reals {
        // A number beside f32 values must be finite as such; an attribute may be any.
        let held = if (real as f32).is_finite() { real } else { 0.5 };
        let body = format!(
            "%a = mul %x, {held:?} : f32[2,4]\n%r = reshape %a {{shape=[1, 2, 1, 4]}} : f32[1,2,1,4]\n\
             %y = attention %r, %r, %r {{scale={real:?}}} : f32[1,2,1,4]"
        );
        let text = program(&body);
        let program = parse(&text).unwrap();
        assert_eq!(program.to_string(), text);
        let graph = &program.variants["main"];
        let node = &graph[graph.find("y").unwrap()];
        assert_eq!(
            node.op,
            Attention { scale: Real(real), causal: false, bounded: false }.into(),
            "{real:?}"
        );
        let Op::Constant(constant) = &graph[graph.operands(graph.find("a").unwrap())[1]].op else { panic!() };
        assert_eq!(constant.value.0.to_bits(), held.to_bits());
    }
    // An integer is a real where one is expected, and stays exact where not.
    let op = |text: &str| {
        let program = parse(&program(text)).unwrap();
        let graph = &program.variants["main"];
        assert_eq!(parse(&program.to_string()).unwrap(), program);
        graph[graph.find("n").unwrap()].op.clone()
    };
    let text = "%n = layer_norm %x {eps=1} : f32[2,4]\n%y = silu %n : f32[2,4]";
    assert_eq!(op(text), LayerNorm { eps: Real(1.0) }.into());
    for max_distance in [3, 9_007_199_254_740_993, usize::MAX] {
        let buckets = format!("{{length=2, buckets=4, max_distance={max_distance}}}");
        let text = format!("%n = relative_buckets {buckets} : i32[2,2]\n%y = silu %x : f32[2,4]");
        assert_eq!(op(&text), RelativeBuckets { length: 2, buckets: 4, max_distance }.into());
    }
}

/// `0.0` and `-0.0` are two constants, as are `1.0 f32` and `1.0 f16`; which was added first does not count.
#[test]
fn constants_are_told_apart() {
    let graph = |lines: [&str; 2]| {
        let program =
            parse(&program(&format!("{}\n{}\n%y = silu %x : f32[2,4]", lines[0], lines[1]))).unwrap();
        program.variants["main"].clone()
    };
    let (wide, narrow) = ("%a = cast 1.0 f32 {dtype=i8} : i8[]", "%b = cast 1.0 f16 {dtype=i8} : i8[]");
    assert_eq!(graph([wide, narrow]), graph([narrow, wide]));
    assert_ne!(graph([wide, narrow]), graph([&wide.replace("f32", "f16"), &narrow.replace("f16", "f32")]));
    let (zero, minus) = ("%a = add %x, 0.0 : f32[2,4]", "%b = add %x, -0.0 : f32[2,4]");
    assert_eq!(graph([zero, minus]).op_counts()["constant"], 2);
    assert_ne!(graph([zero, minus]), graph([zero, &minus.replace("-0.0", "0.0")]));
}

/// Costs stand behind the lines and are not parsed; a view has none.
#[test]
fn costs_are_comments() {
    let program = parse(PROGRAMS[3]).unwrap();
    for (name, machine) in [("text__costs", None), ("text__times", Machine::named("h100"))] {
        let text = program.print(&PrintOptions { costs: true, machine, ..PrintOptions::default() });
        snapshot!(name, text);
        assert_eq!(parse(&text).unwrap(), program);
    }
}

/// A graph that only the API can build prints what parses back, or the verifier says why not.
#[test]
fn odd_names_are_refused_not_misread() {
    let program = |name: &str, path: &str, tensor: &str, label: &str| {
        let mut graph = GraphBuilder::new();
        let x = graph.input("x", Fact::new(F32, [2]).at(reflux_ir::Rate::Latent)).unwrap();
        let w = graph.weight(tensor, Fact::new(F32, [2])).unwrap();
        let y = graph.add(reflux_ir::op::Binary::Add, &[x, w], name, path.into()).unwrap();
        graph.output(label, y);
        Program::of_graph("p", "main", 1, graph.finish())
    };
    let fine = [
        ("y", "", "w", "y"),
        ("in", "in", "in.in", "repeat"),
        ("a.prev.0.1", "a-1.b", "a-1.b", "0"),
        ("7", "7.0", "7.0.w", "return"),
    ];
    for (name, path, tensor, label) in fine {
        let program = program(name, path, tensor, label);
        verify(&program).unwrap();
        assert_eq!(parse(&program.to_string()).unwrap(), program);
    }
    let odd = [
        ("a b", "", "w", "y"),
        ("", "", "w", "y"),
        ("y", "a..b", "w", "y"),
        ("y", ".a", "w", "y"),
        ("y", "a.{i}", "w", "y"),
        ("y", "", ".w", "y"),
        ("y", "", "w.{i}", "y"),
        ("y", "", "w x", "y"),
        ("y", "", "w", "a b"),
    ];
    for (name, path, tensor, label) in odd {
        assert!(
            verify(&program(name, path, tensor, label)).is_err(),
            "{name:?} {path:?} {tensor:?} {label:?}"
        );
    }
}

/// What is wrong with a program, and the message that says so.
#[test]
fn errors() {
    let long = format!("%y = add %x, {}%w : f32[2,4]", "%z, ".repeat(100));
    let bodies = [
        ("an unknown op", "%y = layernorm %x {eps=1e-6} : f32[2,4]"),
        ("an op like no other", "%y = convolve3d %x : f32[2,4]"),
        ("an op that is written in place", "%y = constant {value=1.0, dtype=f32} : f32[]"),
        ("too few operands", "%y = add %x : f32[2,4]"),
        ("too many operands", "%y = silu %x, %z : f32[2,4] in act"),
        ("operands that do not fit", "%y = linear %x, @w f32[4,5] : f32[2,4] in proj"),
        ("another type than is inferred", "%y = silu %x : bf16[2,4]"),
        ("a value that is not there", "%y = add %x, %xx : f32[2,4]"),
        ("a value that comes later", "%a = silu %y : f32[2,4]\n%y = silu %x : f32[2,4]"),
        ("a name that is taken", "%x = silu %z : f32[2,4]"),
        ("a name that is none", "%y-1 = silu %x : f32[2,4]"),
        ("a weight without a type", "%y = add %x, @w : f32[2,4]"),
        ("a weight of two types", "%a = add %x, @w f32[4] : f32[2,4]\n%y = add %a, @w f32[2,4] : f32[2,4]"),
        ("a weight name with an empty segment", "%y = add %x, @w..b f32[4] : f32[2,4]"),
        ("a bare word as operand", "%y = add %x, z : f32[2,4]"),
        ("a number without a type", "%y = add 1.0, 2.0 : f32[2,4]"),
        ("a number that is not finite", "%y = add %x, 1e999 : f32[2,4]"),
        ("a number that its type does not hold", "%y = add %x, 2.5 i8 : f32[2,4]"),
        ("an unknown attribute", "%y = layer_norm %x {eps=1e-6, axis=1} : f32[2,4]"),
        ("an attribute on an op without any", "%y = silu %x {eps=1e-6} : f32[2,4]"),
        ("a missing attribute", "%y = slice %x {axis=0, start=0} : f32[2,4]"),
        ("no attributes at all", "%y = layer_norm %x : f32[2,4]"),
        ("an attribute of the wrong type", "%y = slice %x {axis=0, start=0.5, end=2} : f32[2,4]"),
        ("an attribute that is no number", "%y = layer_norm %x {eps=1-6} : f32[2,4]"),
        ("an attribute given twice", "%y = slice %x {axis=0, axis=1} : f32[2,4]"),
        ("an attribute that is too deep", "%y = reshape %x {shape=[[[[[[[[[2]]]]]]]]]} : f32[2,4]"),
        ("an unknown element type", "%y = cast %x {dtype=fp8} : f32[2,4]"),
        ("an unknown type", "%y = silu %x : float[2,4]"),
        ("a type without extents", "%y = silu %x : f32"),
        ("an extent that is no number", "%y = silu %x : f32[2,n]"),
        ("extents that are too large", "%y = add %x, @w f32[4294967296,4294967296] : f32[2,4]"),
        ("extents that overflow", "%y = add %x, @w f32[99999999999999999999] : f32[2,4]"),
        ("a result that is too large", "%y = upsample @w f32[1,1,8,8] {factor=4294967295} : f32[2,4]"),
        ("an index outside a block", "%y = add %x, @blocks.{i}.w f32[4] : f32[2,4]"),
        ("an index in an attribute outside a block", "%y = slice %x {axis=0, start={i}, end=2} : f32[2,4]"),
        ("a hole that is no index", "repeat %i in 0..2 {\n%y = add %x, @w.{j+1} f32[4] : f32[2,4]\n}"),
        ("a hole within a segment", "repeat %i in 0..2 {\n%y = add %x, @w{i} f32[4] : f32[2,4]\n}"),
        ("a range that is none", "repeat %i in 0-2 {\n%y = silu %x : f32[2,4]\n}"),
        ("an empty range", "repeat %i in 2..2 {\n%y = silu %x : f32[2,4]\n}"),
        ("a range without numbers", "repeat %i in a..b {\n%y = silu %x : f32[2,4]\n}"),
        ("a range with leading zeros", "repeat %i in 00..2 {\n%y = silu %x : f32[2,4]\n}"),
        ("a range that is too long", "repeat %i in 0..2147483648 {\n%y = silu %x : f32[2,4]\n}"),
        ("a block without ops", "repeat %i in 0..4 {\n}"),
        ("a block in a block", "repeat %i in 0..2 {\n%a = silu %x : f32[2,4]\nrepeat %i in 0..2 {\n}\n}"),
        (
            "a block that does not yield",
            "repeat %i in 0..2 (%a.prev = %x) {\n%a = silu %a.prev : f32[2,4]\n}",
        ),
        ("a yield of nothing", "repeat %i in 0..2 {\n%a = silu %x : f32[2,4]\nyield %a\n}"),
        (
            "a carried value that the block lacks",
            "repeat %i in 0..2 (%b.prev = %x) {\n%a = silu %x : f32[2,4]\nyield %b\n}",
        ),
        ("a carried value without .prev", "repeat %i in 0..2 (%a = %x) {\n%a = silu %x : f32[2,4]\n}"),
        ("an unterminated block", "repeat %i in 0..2 {\n%y = silu %x : f32[2,4]"),
        (
            "an index that overflows",
            "repeat %i in 0..2 {\n%y = slice %x {axis=0, start=0, end={9223372036854775807*i+2}} : f32[2,4]\n}",
        ),
        (
            "an error in a later round",
            "repeat %i in 0..3 {\n%y = slice %x {axis=1, start={2*i}, end={2*i+2}} : f32[2,2]\n}",
        ),
        ("several names on the left", "%y.{0..2} = silu %x : f32[2,4]"),
        ("several operands of which one is none", "%y = concat %x.{0..2} {axis=0} : f32[2,4]"),
        (
            "more operands than fit",
            "%x.0 = silu %x : f32[2,4]\n%x.1 = silu %x : f32[2,4]\n%y = silu %x.{0..2} : f32[2,4]",
        ),
        ("a range of operands that is empty", "%y = concat %x.{2..2} {axis=0} : f32[2,4]"),
        (
            "operands that are too many in all rounds",
            "repeat %i in 0..1000 {\n%a = concat %x.{0..101} {axis=0} : f32[2,4]\n}",
        ),
        (
            "a range of operands that advances",
            "repeat %i in 0..2 {\n%a = concat %x.{i}.{0..2} {axis=0} : f32[2,4]\n}",
        ),
        ("several weights", "%y = add %x, @w.{0..2} f32[4] : f32[2,4]"),
        ("several modules", "%y = silu %x : f32[2,4] in blocks.{0..2}"),
        (
            "several carried values",
            "repeat %i in 0..2 (%a.{0..2}.prev = %x) {\n%a = silu %x : f32[2,4]\nyield %a\n}",
        ),
        (
            "several values to start with",
            "repeat %i in 0..2 (%a.prev = %x.{0..2}) {\n%a = silu %x : f32[2,4]\nyield %a\n}",
        ),
        (
            "several values that are yielded",
            "repeat %i in 0..2 (%a.prev = %x) {\n%a = silu %x : f32[2,4]\nyield %a.{0..2}\n}",
        ),
        ("codes without scales", "%y = add %x, @w f8e4m3[4] : f32[2,4]"),
        ("codes without scales and extents", "%y = silu %x : u4"),
        ("scales without a type", "%y = add %x, @w i8.row[4] : f32[2,4]"),
        ("scales per column", "%y = add %x, @w i8.col.f32[4] : f32[2,4]"),
        ("scales per group of none", "%y = add %x, @w u4.group0.f32[4] : f32[2,4]"),
        ("scales that are codes", "%y = add %x, @w i8.row.f8e4m3[4] : f32[2,4]"),
        ("scales of numbers", "%y = add %x, @w bf16.row.f32[4] : f32[2,4]"),
        ("codes without extents", "%y = add %x, @w i8.row.f32 : f32[2,4]"),
        ("codes where numbers are due", "%y = add %x, @w i8.row.f32[4] : f32[2,4]"),
        ("other scales than are inferred", {
            "%y = quantize %x {dtype=i8, scales=row.f32, eps=1e-5} : i8.tensor.f32[2,4]"
        }),
        ("scales that are none", "%y = quantize %x {dtype=i8, scales=rows.f32, eps=1e-5} : i8.row.f32[2,4]"),
        ("a number that is a code", "%y = add %x, 1.0 u4 : f32[2,4]"),
        ("a cast to codes", "%y = cast %x {dtype=f8e4m3} : f8e4m3.row.f32[2,4]"),
        ("a stray token", "%y = silu %x : f32[2,4] ]"),
        ("a character that means nothing", "%y = silu %x ; f32[2,4]"),
        ("letters that are not ASCII", "%größe = silu %x : f32[2,4]"),
        ("what comes after letters that are not ASCII", "%y = add %x, @größe.😀 f32[4] : f32[2,4]"),
        ("tabs", "%y\t=\tsilu\t%q : f32[2,4]"),
        ("a very long line", &long),
    ];
    let minimal = "program p {\n  input %x : f32[2] latent\n  variant v (%x) -> (%y) {\n    return %x\n  }\n  schedule v\n}";
    let several = minimal.replace("%x", "%x.{0..3}").replace("%y", "%y.{0..3}");
    let programs = [
        ("nothing", String::new()),
        ("no program", "graph p {\n}".into()),
        ("an unterminated program", "program p {\n  schedule main\n".into()),
        ("something after the end", format!("{minimal}\n}}")),
        ("a program name that is none", "program a..b {\n}".into()),
        ("an unknown keyword", minimal.replace("input", "inputs")),
        ("an unknown rate", minimal.replace("latent", "step")),
        ("no rate", minimal.replace(" latent", "")),
        ("a duplicated declaration", minimal.replace("  variant", "  carry %x : f32[3] latent\n  variant")),
        ("an input that is not declared", minimal.replace("variant v (%x)", "variant v (%x, %z)")),
        ("an input that is listed twice", minimal.replace("variant v (%x)", "variant v (%x, %x)")),
        ("several inputs of which one is not declared", several.replace("(%x.{0..3})", "(%x.{1..4})")),
        (
            "several inputs of which one is listed already",
            several.replace("(%x.{0..3})", "(%x.2, %x.{0..3})"),
        ),
        ("an input that several hold", several.replace("(%x.{0..3})", "(%x.{0..3}, %x.2)")),
        (
            "several declarations of which one is there already",
            several.replace("  variant", "  carry %x.{2..4} : f32[2] latent\n  variant"),
        ),
        ("several results of which one is none", several.replace("return %x.{0..3}", "return %x.{1..4}")),
        ("more results than outputs", several.replace("return %x.{0..3}", "return %x.{0..3}, %x.0")),
        ("a range of no names", several.replace("-> (%y.{0..3})", "-> (%y.{5..5})")),
        ("a range of names that counts down", several.replace("-> (%y.{0..3})", "-> (%y.{3..1})")),
        ("a range of names without numbers", several.replace("-> (%y.{0..3})", "-> (%y.{a..b})")),
        ("a range of names with leading zeros", several.replace("-> (%y.{0..3})", "-> (%y.{007..010})")),
        ("a range of names with a sign", several.replace("-> (%y.{0..3})", "-> (%y.{-1..2})")),
        ("a range of names with no end", several.replace("-> (%y.{0..3})", "-> (%y.{0..})")),
        ("a range of names without dots", several.replace("-> (%y.{0..3})", "-> (%y.{0-3})")),
        ("a range of names without braces", several.replace("-> (%y.{0..3})", "-> (%y.0..3)")),
        ("a range of names within a segment", several.replace("-> (%y.{0..3})", "-> (%y{0..3})")),
        ("a range of names in the middle", several.replace("-> (%y.{0..3})", "-> (%y.{0..3}.z)")),
        ("a range of names at the start", several.replace("-> (%y.{0..3})", "-> (%{0..3})")),
        ("a range of ranges", several.replace("-> (%y.{0..3})", "-> (%y.{0..3}.{0..3})")),
        ("a range that is never closed", several.replace("-> (%y.{0..3})", "-> (%y.{0..3)")),
        ("names that are too many", several.replace("-> (%y.{0..3})", "-> (%y.{0..100001})")),
        (
            "names that are too many together",
            several.replace("-> (%y.{0..3})", "-> (%y.{0..50000}, %z.{0..49995})"),
        ),
        (
            "names that are far too many",
            several.replace("-> (%y.{0..3})", "-> (%y.{0..99999999999999999999999999})"),
        ),
        (
            "names whose indices are too large",
            several.replace("-> (%y.{0..3})", "-> (%y.{4294967296..4294967298})"),
        ),
        ("several weights returned", several.replace("return %x.{0..3}", "return @x.{0..3} f32[2]")),
        ("an index where names are listed", several.replace("return %x.{0..3}", "return %x.{i}")),
        ("a list that goes on", minimal.replace("return %x", "return %x,")),
        ("codes without scales that are declared", minimal.replace("f32[2]", "u4[2]")),
        ("fewer results than outputs", minimal.replace("(%y)", "(%y, %z)")),
        (
            "a variant that is there twice",
            minimal.replace("  schedule v", "  variant v () -> () { return }\n  schedule v"),
        ),
        (
            "a prepare stage out of order",
            minimal.replace(
                "  variant",
                "  prepare prompt () -> () { return }\n  prepare weights () -> () { return }\n  variant",
            ),
        ),
        (
            "a prepared value that is declared",
            minimal.replace("  variant", "  prepare schedule (%x) -> (%x) { return %x }\n  variant"),
        ),
        ("a schedule that is too long", minimal.replace("schedule v", "schedule v*99999999")),
        ("a number of steps that is none", minimal.replace("schedule v", "schedule v*many")),
        (
            "something after the schedule",
            minimal.replace("schedule v", "schedule v\n  carry %h : f32[2] latent"),
        ),
    ];
    let texts = bodies.iter().map(|(case, body)| (*case, program(body)));
    let mut report = String::new();
    for (case, text) in texts.chain(programs) {
        let error = parse(&text).expect_err(case);
        writeln!(report, "# {case}\n{error}\n").unwrap();
    }
    snapshot!("text__errors", report);
}

/// Small texts that stand for a lot are refused before anything is made of them.
#[test]
fn small_texts_stay_small() {
    let block = |name: usize| format!("repeat %i in 0..60000 {{\n%b{name} = silu %x : f32[2,4]\n}}\n");
    let bodies = [
        "repeat %i in 0..4294967296 {\n}\n".to_owned(),
        "repeat %i in 0..4294967296 {\n%y = silu %x : f32[2,4]\n}\n".to_owned(),
        "repeat %i in 0..50000 {\n%y = concat %x.{0..50000} : f32[2,4]\n}\n".to_owned(),
        (0..1000).map(block).collect(),
    ];
    for body in bodies {
        parse(&program(&body)).unwrap_err();
    }
    for count in ["100001", "18446744073709551615", "50000 main*50001"] {
        parse(
            &program("%y = silu %x : f32[2,4]").replace("schedule main", &format!("schedule main*{count}")),
        )
        .unwrap_err();
    }
}

#[test]
fn schedules_print_as_run_lengths() {
    let mut program = parse(&program("%y = silu %x : f32[2,4]")).unwrap();
    for (steps, expected) in [(vec![], "schedule"), (vec!["a", "a", "b", "a"], "schedule a*2 b a")] {
        program.schedule = steps.into_iter().map(Name::from).collect();
        let text = program.to_string();
        assert_eq!(text.lines().rev().nth(1).unwrap().trim(), expected);
        assert_eq!(parse(&text).unwrap(), program);
    }
}

/// Attributes that are left out print as little as they can, and mean their default.
#[test]
fn defaults_are_not_printed() {
    let op = Op::from(Attention { scale: Real(1.0), causal: false, bounded: false });
    assert_eq!(op.attributes().keys().collect::<Vec<_>>(), ["scale"]);
    assert_eq!(Op::from_text("attention", op.attributes()).unwrap().unwrap(), op);
}

/// A text that is no program is refused where it goes wrong, and what is said about it does not grow with it.
#[test]
fn what_is_too_much_is_refused_where_it_begins() {
    let program = |body: &str| {
        format!(
            "program p {{\n  input %x : f32[4] latent\n  variant main (%x) -> (%y) {{\n{body}    return %x\n  }}\n  schedule main\n}}\n"
        )
    };
    let lines: String = (0..100_100).map(|index| format!("    %v{index} = silu %x : f32[4]\n")).collect();
    let long_name = "a".repeat(100_000);
    let cases = [
        (program(&lines), 100_004, "a program may have at most 100000 ops"),
        (
            program(&format!("    %y = rowwise {} : f32[4]\n", vec!["%x"; 500_000].join(" + "))),
            4,
            "the formula is too long",
        ),
        (program(&format!("    %y = {long_name} %x : f32[4]\n")), 4, "unknown op"),
        (
            program(&format!("    %y = silu %x : f32[4] in {}\n", vec!["a"; 65].join("."))),
            4,
            "at most 64 segments",
        ),
        (program("    %y = slice %x {axis=0, start=1, end=1} : f32[0]\n"), 4, "f32[0] has no elements"),
        (program("    %y = add %x, @w i8[4611686018427387904] : f32[4]\n"), 4, "too large to address"),
    ];
    for (text, line, message) in cases {
        let error = parse(&text).unwrap_err();
        assert_eq!(error.span.line, line, "{message}");
        assert!(error.message.contains(message), "{message}: {:.200}", error.message);
        assert!(error.to_string().len() < 1_500, "{message}");
    }
}
