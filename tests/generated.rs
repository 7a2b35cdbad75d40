//! Programs that no one wrote: a few thousand of those that `cargo run --release -p reflux-fuzz` tries without end.

use reflux_fuzz::check::{passes, silence_panics, text};
use reflux_fuzz::generate;
use reflux_fuzz::mutate::SEEDS;
use reflux_fuzz::pipelines::Passes;
use reflux_fuzz::run::{Run, Tally};
use reflux_ir::op::Op;
use reflux_ir::verify;
use std::collections::BTreeSet;

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
    (0..5_000).for_each(|index| run.try_input(index, &mut tally));
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
