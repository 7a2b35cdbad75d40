//! IR text under random input: nothing panics or hangs, and whatever is a program survives being printed.

use crate::common::graphs::{Choices, random_patch, random_program};
use crate::common::programs::PROGRAMS;
use proptest::collection::vec;
use proptest::prelude::*;
use reflux_fuzz::mutate::{WORDS, mutate};
use reflux_ir::export::DotOptions;
use reflux_ir::op::{Dequantize, Quantize, Real, Unary};
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{
    DType, DType::F32, Declaration, Fact, GraphBuilder, ModulePath, Name, Op, Patch, Program, Rate, ValueId,
};
use reflux_ir::{Machine, export, verify};

/// What must hold of every text.
fn check(text: &str) {
    match parse(text) {
        Ok(program) => check_program(&program),
        Err(error) => {
            let lines = text.lines().count();
            assert!((1..=lines.max(1)).contains(&error.span.line), "{error}");
            let line = text.lines().nth(error.span.line - 1).unwrap_or_default();
            assert_eq!(error.source_line, line);
            let end = error.span.column + error.span.length - 1;
            // The end of the text is one past its last character.
            assert!(error.span.column >= 1 && end <= line.chars().count() + 1, "{error}");
            assert!(error.to_string().lines().all(|line| line.chars().count() < 1000 + text.len()));
        }
    }
}

/// What must hold of every program, well-formed or not.
fn check_program(program: &Program) {
    let text = program.to_string();
    let parsed = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(parsed, *program, "\n{text}");
    assert_eq!(parsed.to_string(), text);
    let options = PrintOptions {
        unrolled: true,
        blocks: None,
        costs: true,
        provenance: true,
        machine: Machine::named("cpu"),
    };
    let unrolled = program.print(&options);
    assert_eq!(
        parse(&unrolled).unwrap_or_else(|error| panic!("{error}\n{unrolled}")),
        *program,
        "\n{unrolled}"
    );
    let _ = verify(program).map_err(|error| error.to_string());
    for unrolled in [false, true] {
        let _ = export::dot(program, DotOptions { machine: options.machine, unrolled });
    }
    let _ = export::model_explorer(program, None);
}

/// Declares a carried value or an input, and has `reuse` read it.
fn declare(
    program: &mut Program,
    reuse: &mut GraphBuilder,
    name: &Name,
    fact: &Fact,
    carried: bool,
) -> ValueId {
    let declared = if carried { &mut program.carries } else { &mut program.inputs };
    declared.push(Declaration { name: name.clone(), fact: fact.clone() });
    let input = reuse.input(name.clone(), fact.clone()).unwrap();
    let op: Op = if fact.is_quantized() { Dequantize { dtype: F32 }.into() } else { Unary::Silu.into() };
    reuse.add(op, &[input], format!("read.{name}"), ModulePath::root()).unwrap()
}

/// A random program whose `reuse` reads what `main` carries, some of it as codes, and more inputs; their names count
/// up, or nearly do.
fn random_caching(choices: &mut Choices) -> Program {
    let mut program = random_program(choices, 6);
    let results: Vec<Name> =
        program.variants["main"].outputs().iter().map(|output| output.label.clone()).collect();
    let mut reuse = GraphBuilder::new();
    let mut read = vec![reuse.input("x", program.inputs[0].fact.clone()).unwrap()];
    for _ in 0..1 + choices.below(4) {
        let stem = choices.pick(&["c", "c.0", "m", "a.prev", "0"]);
        let start = choices.pick(&[0, 1, 9, u128::from(u32::MAX) - 2, u128::from(u64::MAX) - 2]);
        let (carried, scales, rate) =
            (choices.below(3) > 0, choices.pick(&["", "row.f32", "tensor.bf16"]), choices.pick(&Rate::ALL));
        let (first, step) = (choices.below(20), choices.below(4));
        for at in 0..1 + choices.below(5) {
            // Sometimes one is spelled, made or meant otherwise than the rest of its run, or left out.
            let odd = choices.below(16);
            let name =
                Name::from(format!("{stem}.{}{}", if odd == 1 { "0" } else { "" }, start + at as u128));
            let mut declared = program.inputs.iter().chain(&program.carries);
            if odd == 2 || declared.any(|other| other.name == name) {
                continue;
            }
            let main = &mut program.variants["main"];
            let square = |id: &ValueId| *main[*id].fact.shape == [4, 4] && !main[*id].fact.is_quantized();
            let squares: Vec<_> = main.order().into_iter().filter(square).collect();
            let mut value = squares[(first + at * step) % squares.len()];
            let carried = carried == (odd != 4);
            // Nothing quantized comes from outside.
            if let Some(scales) = (if odd == 3 { "row.f16" } else { scales }).parse().ok().filter(|_| carried)
            {
                let codes = Quantize { dtype: DType::I8, scales, quant_min: None, eps: Real(1e-5) };
                let mut patch = Patch::new(main, "test");
                let called = Name::from(format!("codes.{name}"));
                value = patch.add(codes, &[value], &called, ModulePath::root()).unwrap();
                patch.apply().unwrap();
            }
            let rate = if carried || odd == 5 { Rate::Latent } else { rate };
            let fact = main[value].fact.clone().at(rate);
            if carried {
                let mut patch = Patch::new(main, "test");
                patch.output(name.clone(), value);
                patch.apply().unwrap();
            }
            read.push(declare(&mut program, &mut reuse, &name, &fact, carried));
        }
    }
    for (at, label) in results.into_iter().enumerate() {
        reuse.output(label, read[at % read.len()]);
    }
    program.variants.insert("reuse".into(), reuse.finish());
    program.schedule.push("reuse".into());
    program
}

fn config(cases: u32) -> ProptestConfig {
    // PROPTEST_CASES asks for more (or fewer) than the few seconds' worth.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn bytes(bytes in vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn words(words in vec(proptest::sample::select(WORDS), 0..40), glue in "[ ]?") {
        check(&words.join(&glue));
    }

    /// Words where ops are expected, so that more of them get that far.
    #[test]
    fn bodies(words in vec(proptest::sample::select(WORDS), 0..12)) {
        let head = "program p { input %x : f32[2] latent variant main (%x) -> (%y) { repeat %i in 0..2 { %a = silu %x";
        check(&format!("{head} {} : f32[2] }} return %a.0 }} schedule main }}", words.join(" ")));
        check(&format!("program p {{ variant main () -> (%y) {{ %y = {} return %y }} schedule main }}", words.join(" ")));
    }

    #[test]
    fn mutations(program in 0..PROGRAMS.len(), edits in vec((any::<usize>(), any::<u8>(), any::<usize>()), 1..4)) {
        check(&mutate(PROGRAMS[program], edits));
    }

    #[test]
    fn graphs(choices in vec(any::<u16>(), 0..150)) {
        let program = random_program(&mut Choices(choices.into_iter()), 12);
        verify(&program).unwrap();
        check_program(&program);
    }

    #[test]
    fn caches(choices in vec(any::<u16>(), 0..150)) {
        let program = random_caching(&mut Choices(choices.into_iter()));
        verify(&program).unwrap_or_else(|error| panic!("{error}\n{program}"));
        check_program(&program);
    }

    #[test]
    fn mutated_caches(
        choices in vec(any::<u16>(), 0..150),
        edits in vec((any::<usize>(), any::<u8>(), any::<usize>()), 1..4),
    ) {
        check(&mutate(&random_caching(&mut Choices(choices.into_iter())).to_string(), edits));
    }

    /// A patch leaves a well-formed program, or the one that was there.
    #[test]
    fn patches(choices in vec(any::<u16>(), 0..150)) {
        let mut choices = Choices(choices.into_iter());
        let mut program = random_program(&mut choices, 8);
        for _ in 0..3 {
            let before = program.clone();
            let patched = random_patch(&mut program.variants["main"], &mut choices);
            if patched.is_err() {
                prop_assert_eq!(&program, &before);
                prop_assert_eq!(program.variants["main"].op_counts(), before.variants["main"].op_counts());
                prop_assert_eq!(program.to_string(), before.to_string());
            }
            verify(&program).unwrap_or_else(|error| panic!("{error}\n{program}"));
            check_program(&program);
        }
    }
}
