//! Working on programs at the command line: drawing with one that was edited, finding the pass that breaks one, asking why.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const EMOJI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/emoji");
const TINY: [&str; 6] = ["--width", "32", "--height", "48", "--steps", "3"];

fn reflux(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reflux")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of what must succeed.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = reflux(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The message of what must be refused.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = reflux(folder, arguments);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{arguments:?}");
    text(&output.stderr)
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(folder, arguments)).unwrap()
}

/// Draws, and gives the final latents.
fn latents(folder: &Path, more: &[&str]) -> Vec<u8> {
    let draw = ["generate", "an owl", "--device", "cpu", "--save-latents", "latents.safetensors"];
    printed(folder, &[&draw, more].concat());
    std::fs::read(folder.join("latents.safetensors")).unwrap()
}

/// The dump of a run, whichever of its files is the last.
fn last_dump(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder.join("dumps")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".ir"));
    names.sort();
    format!("dumps/{}", names.last().unwrap())
}

#[test]
fn an_edited_dump_is_drawn_with() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let plain = latents(root, &[&TINY[..], &["--dump-dir", "dumps"]].concat());
    // What ran runs again: without the passes that made it, and for the sizes that it has.
    let last = last_dump(root);
    assert_eq!(latents(root, &["--program", &last]), plain);
    let first = std::fs::read_to_string(root.join("dumps/000_input.ir")).unwrap();
    let edited = first.replace(
        "    return %proj_out\n",
        "    %half = mul %proj_out, 0.5 : f32[1,6,64]\n    return %half\n",
    );
    assert_ne!(first, edited);
    std::fs::write(root.join("edited.ir"), &edited).unwrap();
    let halved = latents(root, &["--program", "edited.ir"]);
    assert_ne!(halved, plain);
    // Passes run on it where they are asked for.
    let passes = ["--program", "edited.ir", "--passes", "canonicalize", "--dump-dir", "again"];
    assert_eq!(latents(root, &passes), halved);
    assert!(root.join("again/000_input.ir").is_file());
    // So do the default ones, where they are asked for by name.
    let passes = ["--program", "edited.ir", "--passes", "default", "--dump-dir", "default"];
    latents(root, &passes);
    let dumped = |file: &str| std::fs::read_to_string(root.join("default").join(file)).unwrap();
    assert!(std::fs::read_dir(root.join("default")).unwrap().count() > 3);
    assert!(dumped("000_input.ir").contains("%half = mul"));
}

#[test]
fn a_program_that_does_not_fit_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ir = ["ir", "--dtype", "f32", "--max-sequence-length", "8", "-o", "own.ir"];
    printed(root, &[&ir, &TINY[..]].concat());
    let own = std::fs::read_to_string(root.join("own.ir")).unwrap();
    let write = |name: &str, from: &str, to: &str| {
        assert!(own.contains(from), "{from}");
        std::fs::write(root.join(name), own.replace(from, to)).unwrap();
    };
    write("renamed.ir", "%velocity", "%speed");
    write("unknown.ir", "%pooled", "%pool");
    let draw = |program: &str, more: &[&str]| {
        refused(root, &[&["generate", "an owl", "--device", "cpu", "--program", program], more].concat())
    };
    for (program, more, expected) in [
        ("own.ir", &["--steps", "4"][..], "its schedule has 3 steps, not the requested 4"),
        (
            "own.ir",
            &["--width", "64"],
            "declares `input %latents : f32[1,6,64] latent`, but is given `input %latents : f32[1,12,64] latent`",
        ),
        (
            "own.ir",
            &["--width", "48", "--height", "32"],
            "its `position_ids` are for 3 × 2 tokens, but a picture of 48 × 32 pixels has 2 × 3",
        ),
        ("own.ir", &["--max-sequence-length", "9"], "`input %prompt : f32[1,8,"),
        ("own.ir", &["--dtype", "bf16"], "the dtype must be f32, as in the program, not bf16"),
        (
            "own.ir",
            &["--negative-prompt", "x", "--true-cfg-scale", "2"],
            "is given `input %latents : f32[2,6,64] latent`",
        ),
        ("renamed.ir", &[], "its variant `full` does not return `%velocity`, f32[1,6,64]"),
        ("unknown.ir", &[], "it reads `%pool`, which this model does not provide; it provides %latents"),
        ("unknown.ir", &[], "it must declare `input %pooled : f32[1,"),
        ("missing.ir", &[], "cannot read missing.ir"),
    ] {
        let message = draw(program, more);
        assert!(message.contains(expected), "{program} {more:?}: {message}");
        assert!(!root.join("out.png").exists());
    }
    // A weight that the checkpoint has not is found before the first network runs, too.
    write("weight.ir", "in x_embedder", "in x_embedded");
    assert!(draw("weight.ir", &[]).contains("x_embedded.weight"));
}

/// A picture is drawn with each program, so that what caches reuse is what they would.
#[test]
fn bisecting_a_model_draws_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let bisect = |passes: &str, more: &[&str]| {
        let arguments = ["bisect", EMOJI, "--max-sequence-length", "16", "--json", "--passes", passes];
        json(root, &[&arguments, &TINY[..], more].concat())
    };
    let passes = "canonicalize,hoist,quantize(int8dq,exclude=norm+embedding),cache(fora,steps=110),dce";
    let found = bisect(passes, &[]);
    assert_eq!(found["culprit"], Value::Null, "{found}");
    assert_eq!(found["not_judged"].as_array().unwrap().len(), 2, "{found}");
    let checks = found["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["distance"].as_f64() <= check["allowed"].as_f64()), "{found}");
    // Judged, the first that goes beyond the tolerance is the culprit; a picture of it is still near.
    let found = bisect(passes, &["--lossy"]);
    assert!(found["culprit"]["pass"].as_str().unwrap().starts_with("quantize(int8dq"), "{found}");
    assert!(
        found["checks"].as_array().unwrap().iter().all(|check| check["distance"].as_f64() < Some(0.7)),
        "{found}"
    );
    let all = printed(
        root,
        &[&["bisect", EMOJI, "--max-sequence-length", "16", "--passes", passes], &TINY[..]].concat(),
    );
    assert!(all.starts_with("every pass keeps results within what it promises"), "{all}");
    assert!(all.contains("not judged, since they are lossy: quantize(int8dq"), "{all}");
}

/// Where rounding makes other codes, passes that round otherwise are as far as rounding is, and not to blame for that.
#[test]
fn bisecting_knows_what_rounding_does() {
    let folder = tempfile::tempdir().unwrap();
    let passes = "quantize(int8dq,exclude=norm+embedding),cache(fora)";
    let arguments = ["bisect", EMOJI, "--json", "--passes", passes, "--steps", "8", "--tolerance", "1e-5"];
    let found = json(folder.path(), &arguments);
    assert_eq!(found["culprit"], Value::Null, "{found}");
    let checks = found["checks"].as_array().unwrap();
    let rounded = |check: &&Value| check["rounding"].as_f64() > Some(1e-5);
    let check = checks.iter().find(rounded).unwrap_or_else(|| panic!("{found}"));
    assert!(check["distance"].as_f64() > check["allowed"].as_f64(), "{found}");
    for (option, value) in [("--tolerance", "nan"), ("--tolerance", "-1"), ("--seed", "-2")] {
        let message = refused(folder.path(), &["bisect", EMOJI, option, value]);
        assert!(
            message.contains("a seed is") || message.contains("it must be a number of at least 0"),
            "{message}"
        );
    }
}

const SMALL: &str = "program small {
  input %x : f32[4,64] latent
  variant main (%x) -> (%y) {
    %h = linear %x, @.weight f32[64,64] : f32[4,64] in up
    %y = silu %h : f32[4,64]
    return %y
  }
  schedule main*3
}
";

#[test]
fn a_run_that_lacks_something_says_how_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("small.ir"), SMALL).unwrap();
    let message = refused(root, &["run", "small.ir", "--device", "cpu"]);
    assert!(message.contains("1 weight, the first of which is `up.weight` f32[64,64]"), "{message}");
    assert!(message.contains("--random SEED"), "{message}");
    let linear = "    %h = linear %x, @.weight f32[64,64] : f32[4,64] in up\n";
    std::fs::write(root.join("bare.ir"), SMALL.replace(linear, "").replace("silu %h", "silu %x")).unwrap();
    let message = refused(root, &["run", "bare.ir", "--device", "cpu"]);
    assert!(message.contains("`x` f32[4,64]; give them") && message.contains("--random SEED"), "{message}");
    printed(root, &["run", "small.ir", "--device", "cpu", "--random", "1"]);
}

#[test]
fn any_network_is_optimized_and_previewed_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let preview = [
        "opt",
        "flux-dev",
        "--net",
        "clip",
        "--passes-only",
        "canonicalize,merge-linear",
        "--preview",
        "--json",
    ];
    let report = json(root, &preview);
    let passes: Vec<_> = report["passes"].as_array().unwrap().iter().map(|pass| &pass["pass"]).collect();
    assert_eq!(passes, ["canonicalize", "merge-linear"]);
    let clip = printed(root, &["opt", "flux-dev", "--net", "clip", "--passes", "dce"]);
    let clip = reflux::ir::text::parse(&clip).unwrap_or_else(|error| panic!("{error}"));
    assert!(clip.variants[0].op_counts().contains_key("argmax"), "{clip}");
    std::fs::write(root.join("small.ir"), SMALL).unwrap();
    assert!(refused(root, &["opt", "small.ir", "--net", "vae"]).contains("--net is for models"));
}

/// A pass that changes what it is asked about is asked before it runs, with the options that it has in the pipeline.
#[test]
fn passes_are_asked_as_they_find_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--width", "64", "--height", "64", "--steps", "4"];
    let why = |rule: &str, value: &str, passes: &str| {
        let arguments = ["passes", "why", rule, value, "flux-dev", "--passes", passes];
        printed(folder.path(), &[&arguments, &size[..]].concat())
    };
    let quantize = "canonicalize,quantize(int8dq,exclude=norm+embedding),dce";
    let to_q = why("quantize", "transformer_blocks.0.attn.to_q", quantize);
    assert!(to_q.contains("It applies in variant full at") && to_q.contains("becomes i8.row.bf16"), "{to_q}");
    let embedder = why("quantize", "x_embedder", quantize);
    assert!(
        embedder.contains("the preset `embedding` of `exclude` names modules called `x_embedder`"),
        "{embedder}"
    );
    assert!(why("hoist", "%rope", "canonicalize,hoist").contains("`prepare weights`"));
    assert!(why("cache", "%h.37", "hoist,cache(fora),dce").contains("It applies"));
}

/// Blocks are drawn once, so that FLUX.1-dev can be laid out at all.
#[test]
fn large_networks_can_be_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let dot = printed(folder.path(), &["ir", "--config", "flux-dev", "--export", "dot"]);
    let unrolled = printed(folder.path(), &["ir", "--config", "flux-dev", "--export", "dot", "--unrolled"]);
    let nodes =
        |dot: &str| dot.lines().filter(|line| line.contains("[label=") && !line.contains("\" -> \"")).count();
    assert!(nodes(&dot) < 300 && nodes(&unrolled) > 2000, "{} and {}", nodes(&dot), nodes(&unrolled));
    assert!(dot.contains("transformer_blocks/{0..19}"), "{dot}");
}

/// Results that are no numbers are no results.
#[test]
fn a_run_that_gives_no_numbers_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("log.ir"), SMALL.replace("silu %h", "pow %h, 0.5")).unwrap();
    let arguments = ["run", "log.ir", "--random", "1", "--device", "cpu", "--outputs", "results.safetensors"];
    let output = reflux(root, &arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("`y` has numbers that are not finite (NaN or infinity) in step 0"), "{message}");
    assert!(!root.join("results.safetensors").exists());
}
