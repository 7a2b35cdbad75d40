//! `tune`: what it finds runs as it was found, and a search that was stopped goes on.

use crate::common::fixtures::{emoji, relative_l2};
use reflux::ir::pass::{PassConfig, Recipe};
use reflux::models::{ModelFiles, Parts};
use reflux::{
    DiffusionPipeline, Error, Goal, Objective, OpenOptions, Request, TuneOptions, Tuned, registry, tune,
};
use std::path::Path;

/// Two small pictures.
fn requests() -> Vec<Request> {
    let of = |(prompt, seed): (&str, u64)| Request::new(prompt).seed(seed).steps(8).size(64, 64);
    [("a red apple on a blue background", 3), ("an owl", 4)].map(of).to_vec()
}

fn options() -> TuneOptions {
    let methods = Vec::new();
    TuneOptions { goal: Goal::Computed(4), objective: Objective::Latents, methods, iterations: 8, seed: 5 }
}

fn run(how: &TuneOptions, passes: &str, journal: &Path, resume: bool) -> Result<Tuned, Error> {
    let files = ModelFiles::find(&emoji(), Parts::default()).unwrap();
    let passes = Recipe::parse(passes, &registry()).unwrap();
    let options = OpenOptions { passes, ..OpenOptions::default() };
    tune(files, options, &requests(), how, (journal, resume), &mut |_| {}, &mut |_| {})
}

/// The mean relative distance of final latents with the passes of `config` from those with `base`.
fn error(config: &str, base: &str) -> f64 {
    let config = PassConfig::read(&PassConfig::table(config).unwrap(), &registry()).unwrap().recipe;
    let latents = |passes: Recipe| {
        let options = OpenOptions { passes, ..OpenOptions::default() };
        let mut pipeline = DiffusionPipeline::open_with(emoji(), options).unwrap();
        requests()
            .iter()
            .map(|request| pipeline.generate_with(request, &mut |_| {}).unwrap().1.latents)
            .collect::<Vec<_>>()
    };
    let pairs = latents(config).into_iter().zip(latents(Recipe::parse(base, &registry()).unwrap()));
    let apart: Vec<f64> = pairs.map(|(found, expected)| relative_l2(&found, &expected)).collect();
    apart.iter().sum::<f64>() / apart.len() as f64
}

/// The numeric twin of `steer`: a schedule that was told step by step is the one that the pass `cache` makes of it, for every
/// predictor, alone and beside another pass.
#[test]
fn what_is_found_runs_as_it_was_found() {
    let folder = tempfile::tempdir().unwrap();
    for (method, passes) in
        [("fora", ""), ("magcache", ""), ("forecast", "quantize(int8dq,exclude=norm+embedding)")]
    {
        let how = TuneOptions { methods: vec![method.to_owned()], iterations: 2, ..options() };
        let found = run(&how, passes, &folder.path().join(method), false).unwrap();
        assert!(found.found.pass.starts_with(&format!("cache({method}")), "{}", found.found.pass);
        assert!(found.config.contains(passes), "{}", found.config);
        let measured = error(&found.config, passes);
        assert!(found.found.error > 1e-3, "{method} reuses nothing");
        assert!(
            (measured - found.found.error).abs() < 1e-6 + 1e-3 * measured,
            "{method}: {measured} {:?}",
            found.found
        );
    }
}

#[test]
fn a_search_is_no_worse_than_where_it_began_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let found = run(&options(), "", &whole, false).unwrap();
    assert!(found.found.error <= found.even.error);
    assert_eq!((found.computed, found.steps, found.pictures, found.known), (4, 8, 2, 0));
    assert!(found.steps_saved > 0 && found.tried > 8, "{found:?}");
    let text = std::fs::read_to_string(&whole).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&cut, format!("{}\n{{\"pass\": \"cac", lines[..lines.len() / 2].join("\n"))).unwrap();
    let again = run(&options(), "", &cut, true).unwrap();
    assert_eq!((again.known, again.tried + again.known), (lines.len() / 2 - 1, found.tried));
    assert_eq!((again.config, again.found.error.to_bits()), (found.config, found.found.error.to_bits()));
    assert_eq!(std::fs::read_to_string(&cut).unwrap(), text);
    // Empty lines at the end, as editors leave them, are none.
    std::fs::write(&whole, format!("{text}\n\n\n")).unwrap();
    // Nothing is left to try.
    let known = run(&options(), "", &whole, true).unwrap();
    assert_eq!((known.tried, known.found.error.to_bits()), (0, found.found.error.to_bits()));
}

#[test]
fn trials_that_no_search_has_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trials");
    run(&TuneOptions { iterations: 0, ..options() }, "", &path, false).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().count() + 1;
    for (added, why) in [
        (r#"{"pass": "cache(frobnicate,steps=10101010)", "error": 0.1}"#, "frobnicate"),
        (r#"{"pass": "cache(pab)", "error": 0.1}"#, "`cache(pab)` is not one of fora"),
        (r#"{"pass": "dce", "error": 0.1}"#, "`dce` is not one of fora"),
        (r#"{"pass": "cache(fora,steps=10101010)", "error": -1.0}"#, "its error is -1.0"),
        (r#"{"pass": "cache(fora,steps=10101010)", "error": 1e300}"#, "its error is 1e300"),
        (r#"{"pass": "cache(fora,steps=10101010)", "error": null}"#, "null"),
    ] {
        std::fs::write(&path, format!("{text}{added}\n")).unwrap();
        let error = run(&options(), "", &path, true).unwrap_err().to_string();
        let place = format!("trials: line {line} is no candidate that was tried: ");
        assert!(error.contains(&place) && error.contains(why), "{error}");
    }
}

#[test]
fn the_fewest_steps_that_are_good_enough_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let of = |least: f64, name: &str| {
        let goal = Goal::MinPsnr(least);
        let how = TuneOptions { goal, iterations: 0, objective: Objective::Pictures, ..options() };
        run(&how, "", &folder.path().join(name), false)
    };
    let found = of(30.0, "reached").unwrap();
    assert!(found.found.psnr >= 30.0 && found.computed < 8, "{found:?}");
    let error = of(100.0, "unreached").unwrap_err().to_string();
    assert!(error.contains("no schedule that was found reaches 100 dB"), "{error}");
}

#[test]
fn a_cache_is_what_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        run(&options(), "cache(fora)", &folder.path().join("journal"), false).unwrap_err().to_string();
    assert!(error.contains("`cache` is what is searched for; leave it out"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
