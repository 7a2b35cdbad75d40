//! `reflux compare`, `reflux explore` and the exports of `reflux ir`: what they refuse, and that what they write is whole.

use super::{EMOJI, reflux, refusal, succeed, text};
use std::fs;
use std::path::Path;

/// A program that multiplies by `factor` in one module, and adds to that in another, in `steps` steps.
fn program(factor: &str, steps: usize) -> String {
    format!(
        "program p {{
           input %x : f32[1,4] latent
           variant full (%x) -> (%y) {{
             %a = mul %x, {factor} : f32[1,4] in first
             %y = add %a, 1.0 : f32[1,4] in second
             return %y
           }}
           schedule full*{steps}
         }}"
    )
}

/// What is wrong, which is said in one line after the notes on what is done.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = reflux(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let said = text(&output.stderr);
    let error = said
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap_or_else(|| panic!("{arguments:?}: {said}"));
    error.to_owned()
}

#[test]
fn programs_are_compared_module_by_module() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.ir"), program("2.0", 2)).unwrap();
    fs::write(root.join("b.ir"), program("3.0", 2)).unwrap();
    let table = text(&succeed(root, &["compare", "a.ir", "b.ir"]).stdout);
    // 3x instead of 2x.
    let first = table.lines().find(|line| line.starts_with("first")).unwrap();
    assert_eq!(first.split_whitespace().filter(|word| *word == "5.0e-1").count(), 2, "{table}");
    assert!(table.ends_with("the modules that make most of the error: first (5.0e-1)\n"), "{table}");
    let second = text(&succeed(root, &["compare", "a.ir", "b.ir", "--within", "second"]).stdout);
    assert!(second.lines().count() == 3 && second.contains("second"), "{second}");
    let json = text(&succeed(root, &["compare", "a.ir", "a.ir", "--json"]).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(
        json["modules"].as_array().unwrap().iter().all(|row| row["error_made"]["relative_l2"] == 0.0),
        "{json}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.ir"), program("2.0", 2)).unwrap();
    fs::write(root.join("longer.ir"), program("2.0", 3)).unwrap();
    let other = program("2.0", 2).replace("%a", "%other").replace("%y", "%z");
    fs::write(root.join("other.ir"), other).unwrap();
    let said = refused(root, &["compare", "a.ir", "longer.ir"]);
    assert_eq!(said, "error: A has 2 steps and B 3 steps; compare programs with as many steps");
    let said = refused(root, &["compare", "a.ir", "other.ir"]);
    assert_eq!(
        said,
        "error: B has none of the values that modules of A give; both must be made from one network"
    );
    let said = refused(root, &["compare", "a.ir", "a.ir", "--within", "frist"]);
    assert_eq!(said, "error: --within frist: A has no such module (did you mean `first`?)");
    let steps = ["--steps", "2", "--width", "32", "--height", "32"];
    let said = refused(root, &[&["compare", EMOJI, "a.ir"], &steps[..]].concat());
    assert_eq!(said, "error: B gives no `%velocity`, by which a picture is drawn");
}

/// What needs no more than to be read is refused before A is opened, for which a model encodes a prompt.
#[test]
fn what_is_asked_for_is_looked_at_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.ir"), program("2.0", 2)).unwrap();
    let divided = "%own = shard %x {devices=2, axis=1} : f32[1,2]
             %all = all_gather %own {devices=2, axis=1} : f32[1,4]
             %a = mul %all, ";
    fs::write(root.join("divided.ir"), program("2.0", 2).replace("%a = mul %x, ", divided)).unwrap();
    // Opened, it would lack its weights.
    let model = ["compare", EMOJI, "--weights", "nowhere.safetensors"];
    let several = |side: &str| {
        format!(
            "error: {side} is for several devices, and programs are compared on one: leave out the pass `shard`, and name one device \
             by --device\n"
        )
    };
    for (rest, said) in [
        (&["--passes-a", "shard(devices=2)"][..], several("A")),
        (&["--passes-b", "default,shard(devices=2)"], several("B")),
        (&["divided.ir"], several("B")),
    ] {
        assert_eq!(refusal(root, &[&model[..], rest].concat()), said);
    }
    for (rest, said) in [
        (&["--passes-b", "shart(2)"][..], "did you mean `shard`?"),
        (&["nowhere.ir"], "there is no nowhere.ir"),
        (&[], "nowhere.safetensors"),
    ] {
        let found = refused(root, &[&model[..], rest].concat());
        assert!(found.contains(said), "{found}");
    }
    let said = refusal(root, &["compare", "divided.ir", "a.ir"]);
    assert!(said.ends_with(&several("A")) && !said.contains("measures"), "{said}");
}

#[test]
fn pages_refuse_what_they_are_not_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.ir"), program("2.0", 2)).unwrap();
    for (content, flag, made) in [
        ("", "--measured", "`reflux bench --profile --json` writes such files"),
        (
            "{\"device\": {\"name\": \"x\"}, \"passes\": \"\", \"profile\": null}",
            "--measured",
            "without --profile",
        ),
        ("[1, 2]", "--compared", "`reflux compare --json` writes such files"),
    ] {
        fs::write(root.join("given.json"), content).unwrap();
        let said = refused(root, &["explore", "a.ir", "--out", "page.html", flag, "given.json"]);
        assert!(said.starts_with("error: given.json is no ") && said.contains(made), "{said}");
        assert!(!root.join("page.html").exists());
    }
    let said = refused(root, &["explore", "a.ir", "--out", "a.ir"]);
    assert!(said.contains("a.ir"), "{said}");
    let said = refused(root, &["explore", "a.ir", "--out", "p.html", "--json", "p.html"]);
    assert_eq!(said, "error: --out and --json are one file; name another for one of both");
    succeed(root, &["opt", "a.ir", "--passes", "canonicalize", "--out", "b.ir", "--explore", "page.html"]);
    assert!(fs::read_to_string(root.join("page.html")).unwrap().ends_with("</html>\n"));
}

#[test]
fn models_are_exported_with_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    succeed(root, &["ir", "--model", EMOJI, "--net", "clip", "--export", "onnx", "--out", "clip.onnx"]);
    let [model, weights] =
        ["clip.onnx", "clip.onnx.data"].map(|name| root.join(name).metadata().unwrap().len());
    assert!(model > 1_000 && weights > 1_000_000, "{model}, {weights}");
    // It is read back, and does the same with the same weights.
    succeed(root, &["ir", "clip.onnx"]);
    let said = refused(root, &["ir", "--model", EMOJI, "--export", "onnx"]);
    assert_eq!(said, "error: --export onnx writes a file: add --out model.onnx");
    let cached =
        ["ir", "--model", EMOJI, "--passes", "cache(fora)", "--export", "onnx", "--out", "full.onnx"];
    let said = refused(root, &cached);
    assert!(said.contains("several variants") && said.contains("full") && said.contains("reuse"), "{said}");
    assert!(!root.join("full.onnx").exists());
    succeed(root, &[&cached[..], &["--variant", "full"]].concat());
    let graphs = ["ir", "diff", EMOJI, EMOJI, "--passes-b", "canonicalize", "--model-explorer", "graphs"];
    succeed(root, &graphs);
    for name in ["a", "b", "a.diff", "b.diff"] {
        let json = fs::read_to_string(root.join("graphs").join(format!("{name}.json"))).unwrap();
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

#[test]
fn only_the_first_blocks_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let printed = text(&succeed(folder.path(), &["ir", "--config", "flux-dev", "--blocks", "2"]).stdout);
    assert!(printed.contains("%h.1 = ") && !printed.contains("%h.2 = "), "{printed}");
    assert!(printed.contains("// … 17 more blocks of transformer_blocks.{i}, 2 to 18\n"), "{printed}");
    assert!(printed.contains("// … 36 more blocks of single_transformer_blocks.{i}, 2 to 37\n"), "{printed}");
}
