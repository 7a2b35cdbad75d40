//! `reflux tune`, and the configuration that it writes

use super::{EMOJI, TINY, files, reflux, refusals, succeed, text};

const DEVICE: [&str; 4] = ["--model", EMOJI, "--device", "cpu"];

#[test]
fn what_is_found_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let search = ["tune", "an owl", "--budget", "0.5", "--iterations", "2", "-o", "owl.toml"];
    let search = [&search, &DEVICE[..], &TINY[..]].concat();
    let said = text(&succeed(root, &search).stdout);
    assert!(said.contains("3 of 6 steps compute, on 1 picture"), "{said}");
    assert!(said.contains("run with --passes-config owl.toml"), "{said}");
    assert_eq!(files(root), ["owl.toml", "owl.toml.trials.jsonl"].map(|name| root.join(name)));
    let config = std::fs::read_to_string(root.join("owl.toml")).unwrap();
    assert!(config.starts_with("# Found by reflux tune"), "{config}");
    let drawn = ["generate", "an owl", "--passes-config", "owl.toml"];
    let output = succeed(root, &[&drawn, &DEVICE[..], &TINY[..]].concat());
    assert!(text(&output.stderr).contains("3 of 6 steps compute"), "{}", text(&output.stderr));
    // A search does not begin anew over what was tried.
    let again = reflux(root, &search);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("add --resume to go on"), "{}", text(&again.stderr));
    let json = succeed(root, &[&search[..], &["--resume", "--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["computed"], &json["tried"]), (&3.into(), &0.into()));
    assert_eq!(std::fs::read_to_string(root.join("owl.toml")).unwrap(), config);
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("several.jsonl"), "{\"prompt\": \"an owl\", \"num_images\": 2}\n").unwrap();
    std::fs::write(
        root.join("sizes.jsonl"),
        "{\"prompt\": \"an owl\"}\n{\"prompt\": \"a cat\", \"width\": 64}\n",
    )
    .unwrap();
    std::fs::write(root.join("notes.trials.jsonl"), "my notes\n").unwrap();
    let cases: [&[&str]; 14] = [
        &["tune", "an owl"],
        &["tune", "an owl", "--computed", "3", "--budget", "0.5"],
        &["tune", "an owl", "--computed", "6"],
        &["tune", "an owl", "--computed", "0"],
        &["tune", "an owl", "--budget", "1.5"],
        &["tune", "an owl", "--min-psnr", "nan"],
        &["tune", "an owl", "--computed", "3", "--method", "pab"],
        &["tune", "an owl", "--computed", "3", "--passes", "cache(fora)"],
        &["tune", "an owl", "--computed", "3", "--prompts", "several.jsonl"],
        &["tune", "--computed", "3", "--prompts", "several.jsonl"],
        &["tune", "--computed", "3", "--prompts", "sizes.jsonl"],
        &["tune", "an owl", "--computed", "3", "-o", "notes", "--resume"],
        &["tune", "an owl", "--computed", "3", "-o", "nowhere/tuned.toml"],
        &["tune", "an owl", "--computed", "3", "-o", "-"],
    ];
    // Without the model's path, which would be in the messages.
    let device = ["--device", "cpu"];
    let cases: Vec<Vec<&str>> = cases.iter().map(|case| [case, &device[..], &TINY[..]].concat()).collect();
    let cases: Vec<&[&str]> = cases.iter().map(|case| &case[..]).collect();
    snapshot!("cli__tune_refused", refusals(root, &cases));
}
