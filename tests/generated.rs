//! Programs that no one wrote: a few thousand of those that `cargo run --release -p reflux-fuzz` tries without end.

use cpu_time::ThreadTime;
use reflux_fuzz::check::{exports, passes, silence_panics, text};
use reflux_fuzz::files::Files;
use reflux_fuzz::generate;
use reflux_fuzz::mutate::SEEDS;
use reflux_fuzz::pipelines::Passes;
use reflux_fuzz::run::{Run, Tally};
use reflux_ir::op::Op;
use reflux_ir::pass::{Driver, Pipeline, PipelineReport};
use reflux_ir::text::parse;
use reflux_ir::verify;
use reflux_models::onnx::export::{ExportError, ExportOptions, Part, to_bytes};
use std::collections::BTreeSet;
use std::fmt::Write;

#[test]
fn every_op_is_generated_and_every_program_verifies() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let program = generate::program(&mut fastrand::Rng::with_seed(seed));
        verify(&program).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{program}"));
        let graphs = program.stages().map(|(_, graph)| graph);
        seen.extend(graphs.flat_map(|graph| graph.ids().map(|id| graph[id].op.name()).collect::<Vec<_>>()));
    }
    let missing: Vec<_> = Op::names().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "these ops are never generated: {missing:?}");
}

#[test]
fn every_pass_is_generated() {
    let passes = Passes::of(reflux_passes::registry());
    let mut rng = fastrand::Rng::with_seed(1);
    let all: String = (0..300).map(|_| passes.pipeline(&mut rng) + ",").collect();
    let missing: Vec<_> =
        passes.registry.iter().filter(|pass| !all.contains(pass.name)).map(|pass| pass.name).collect();
    assert!(missing.is_empty(), "these passes are never generated: {missing:?}");
}

/// What passes once panicked at, or made something else of.
#[test]
fn degenerate_programs_are_passed_or_refused() {
    let registry = reflux_passes::registry();
    for seed in SEEDS {
        let pipeline =
            seed.lines().next().and_then(|line| line.split('"').nth(1)).expect("it names its pipeline");
        let program = text(seed).unwrap_or_else(|failure| panic!("{}\n{seed}", failure.message));
        let program = program.unwrap_or_else(|| panic!("it does not verify: {seed}"));
        for pipeline in
            [pipeline, "canonicalize,hoist,canonicalize,merge-linear,fuse,pack,dce", "fuse,canonicalize,dce"]
        {
            for which in 0..7 {
                let outcome = passes(&program, pipeline, &registry, true, which);
                outcome.unwrap_or_else(|failure| panic!("{pipeline}: {}\n{seed}", failure.message));
            }
        }
    }
}

#[test]
fn nothing_is_found() {
    silence_panics();
    let passes = Passes::of(reflux_passes::registry());
    let run = Run { passes, seed: 7, longest: None, compare: None };
    let mut tally = Tally::default();
    (0..6_000).for_each(|index| run.try_input(index, &mut tally));
    // What is found is to be seen.
    drop(std::panic::take_hook());
    let found: String = tally
        .failures
        .iter()
        .map(|found| format!("input {}: {}\n{}\n", found.input, found.failure.message, run.reproducer(found)))
        .collect();
    assert!(tally.failures.is_empty(), "{found}");
    // What is refused or is no program shows nothing.
    assert!(tally.ran > 300 && tally.texts_that_verify > 100, "{tally:?}");
}

/// The report of `pipeline` on a program, which takes less than so many seconds of the processor's time.
fn within(seconds: f64, text: &str, pipeline: &str) -> PipelineReport {
    let pipeline = Pipeline::parse(pipeline, &reflux_passes::registry()).unwrap();
    let start = ThreadTime::now();
    let (_, report) = Driver::default().run(parse(text).unwrap(), &pipeline).unwrap();
    let taken = start.elapsed().as_secs_f64();
    assert!(taken < seconds, "{}: {taken:.1} s", pipeline);
    report
}

/// The number of values of each kind in a long program: quadratic time would be a minute.
const MANY: usize = 30_000;

#[test]
fn many_carried_values_take_no_longer_than_others() {
    let mut text = "program p {\n  input %x : f32[4] latent\n".to_owned();
    let names: Vec<String> = (0..MANY).map(|i| format!("%c{i}a")).collect();
    names.iter().for_each(|name| writeln!(text, "  carry {name} : f32[4] latent").unwrap());
    let names = names.join(", ");
    writeln!(text, "  variant full (%x) -> (%y, {names}) {{\n    %y = silu %x : f32[4]").unwrap();
    (0..MANY).for_each(|i| writeln!(text, "    %c{i}a = add %x, {i}.5 : f32[4]").unwrap());
    writeln!(text, "    return %y, {names}\n  }}\n  variant reuse ({names}) -> (%y) {{").unwrap();
    writeln!(text, "    %y = silu %c0a : f32[4]\n    return %y\n  }}\n  schedule full reuse\n}}").unwrap();
    within(8.0, &text, "canonicalize");
}

/// A residual stream through so many blocks, which returns `result`.
fn long_stream(blocks: usize, result: &str) -> String {
    let mut text = "program p {\n  input %x : f32[4,4] latent\n  variant main (%x) -> (%y) {\n".to_owned();
    writeln!(text, "    %a.0 = silu %x : f32[4,4]").unwrap();
    for i in 1..blocks {
        writeln!(text, "    %l.{i} = linear %a.{}, @w{i} f32[4,4] : f32[4,4] in blocks.{i}", i - 1).unwrap();
        writeln!(text, "    %a.{i} = add %a.{}, %l.{i} : f32[4,4] in blocks.{i}", i - 1).unwrap();
    }
    writeln!(text, "    %y = {result}\n    return %y\n  }}\n  schedule main*4\n}}").unwrap();
    text
}

#[test]
fn many_residuals_results_and_operands_take_no_longer_than_others() {
    let blocks = MANY / 2;
    let text = long_stream(blocks, &format!("silu %a.{} : f32[4,4]", blocks - 1));
    within(8.0, &text, "cache(fora)");
    within(8.0, &text, "tap(*)");
    let all = (0..blocks).map(|i| format!("%a.{i}")).collect::<Vec<_>>().join(", ");
    let text = long_stream(blocks, &format!("concat {all} {{axis=0}} : f32[{},4]", blocks * 4));
    within(8.0, &text, "fuse");
}

/// A concatenation of itself has twice the operands, and one of what the last one made has one more.
#[test]
fn concatenations_of_concatenations_take_no_longer_than_others() {
    let program = |lines: String, last: &str| {
        format!(
            "program p {{ input %q : f32[1,1] latent variant main (%q) -> ({last}) {{\n{lines}return {last} }} schedule main }}"
        )
    };
    let name = |index: usize| if index == 0 { "%q".to_owned() } else { format!("%c{index}") };
    let doubled = |i: usize| {
        let part = name(i - 1);
        format!("%c{i} = concat {part}, {part} {{axis=1}} : f32[1,{}]\n", 1_u64 << i)
    };
    within(1.0, &program((1..=40).map(doubled).collect(), "%c40"), "canonicalize");
    let longer = |i: usize| format!("%c{i} = concat {}, %q {{axis=1}} : f32[1,{}]\n", name(i - 1), i + 1);
    within(4.0, &program((1..=3_000).map(longer).collect(), "%c3000"), "canonicalize");
}

/// Regions that are all different are all looked at, but not all as thoroughly as the first.
#[test]
fn two_thousand_ops_without_modules_are_fused_at_once() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut text = "program p {\n  input %x : f32[4,64] latent\n  variant main (%x) -> (%y) {\n".to_owned();
    let mut names = vec!["%x".to_owned()];
    for i in 0..2_000 {
        let mut near = || names[names.len() - 1 - rng.usize(..names.len().min(8))].clone();
        let op = match i % 5 {
            0 => format!("silu {}", near()),
            1 | 2 => format!("mul {}, {}", near(), near()),
            3 => format!("layer_norm {} {{eps=1e-6}}", near()),
            _ => format!("add {}, {}", near(), near()),
        };
        writeln!(text, "    %v{i} = {op} : f32[4,64]").unwrap();
        names.push(format!("%v{i}"));
    }
    writeln!(text, "    return %v1999\n  }}\n  schedule main\n}}").unwrap();
    let text = text.replace("-> (%y)", "-> (%v1999)");
    let report = within(5.0, &text, "fuse");
    assert!(report.is_cut_short());
    let fuse = &report.passes[0];
    assert!(fuse.ops_after < fuse.ops_before * 3 / 4, "{} of {} ops", fuse.ops_after, fuse.ops_before);
}

/// Damaged weights, configurations and tokenizers: a few of those that `cargo run --release -p reflux-fuzz -- --what files` tries
/// without end.
#[test]
fn damaged_files_are_read_or_refused() {
    let files = Files::new(7, None).unwrap();
    let mut tally = Tally::default();
    (0..3_000).for_each(|index| files.try_input(index, &mut tally));
    let found: String = tally
        .failures
        .iter()
        .map(|found| {
            format!("input {}: {}\n{}\n", found.input, found.failure.message, files.reproducer(found.input))
        })
        .collect();
    assert!(tally.failures.is_empty(), "{found}");
    for kind in files.kinds() {
        let (read, refused) = tally.files[kind];
        assert!(read > 30 && refused > 100, "{kind}: {read} read, {refused} refused");
    }
}

/// Programs of all ops are exported as ONNX, or refused for what ONNX has not; and what is exported can be read or is refused.
#[test]
fn generated_programs_are_exported() {
    let (mut exported, mut refused) = (0, BTreeSet::new());
    for seed in 0..400 {
        let program = generate::program(&mut fastrand::Rng::with_seed(seed));
        exports(&program).unwrap_or_else(|failure| panic!("seed {seed}: {}\n{program}", failure.message));
        for (stage, _) in program.stages() {
            match to_bytes(&program, &ExportOptions { part: Part::Stage(stage), functions: true }) {
                Ok(_) => exported += 1,
                Err(ExportError::Op(value)) => drop(refused.insert(value.why)),
                Err(error) => panic!("seed {seed}: {error}\n{program}"),
            }
        }
    }
    assert!(exported > 300, "only {exported} stages");
    let known = [
        "ONNX has no blocks of GGML like",
        "the last group of a row is shorter than",
        "ONNX has no elements",
        "ONNX has no several devices",
    ];
    let others: Vec<_> =
        refused.iter().filter(|why| !known.iter().any(|known| why.starts_with(known))).collect();
    assert!(others.is_empty(), "{others:#?}");
}
