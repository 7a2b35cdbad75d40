//! `--prompts`: many pictures in one run, and going on where it stopped; and names with placeholders.

use super::generate::png;
use super::{TINY, files, reflux, refusals, succeed, text};
use std::path::Path;

const LIST: &str = r#"{"prompt": "a red apple", "seed": 7}
{"prompt": "an owl", "num_images": 2, "width": 48}

{"prompt": "a red apple", "seed": 8, "steps": 1}
"#;

fn draw(root: &Path, more: &[&str]) -> std::process::Output {
    let list =
        ["generate", "--prompts", "list.jsonl", "--device", "cpu", "-o", "{index}-{prompt}-{seed}.png"];
    succeed(root, &[&list[..], &TINY, more].concat())
}

const NAMES: [&str; 4] = ["0-a-red-apple-7.png", "1-an-owl-0.png", "2-an-owl-0.png", "3-a-red-apple-8.png"];

/// Every line is a request of its own: the same pictures as by themselves.
#[test]
fn lines_draw_what_they_would_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("list.jsonl"), LIST).unwrap();
    let said = text(&draw(root, &[]).stdout);
    // Those of one size one after the other.
    let mut found: Vec<&str> = said.lines().collect();
    found.sort_unstable();
    assert_eq!(found, NAMES);
    let alone = |prompt: &str, options: &str, name: &str| {
        let options: Vec<&str> = options.split(' ').collect();
        let common = ["generate", prompt, "--device", "cpu", "-o", "alone.png", "--height", "32"];
        succeed(root, &[&common[..], &options].concat());
        assert!(png(&root.join("alone.png")).0 == png(&root.join(name)).0, "{name}");
    };
    alone("an owl", "--num-images 2 --image-index 1 --width 48 --steps 6", NAMES[2]);
    alone("a red apple", "--seed 8 --steps 1 --width 32", NAMES[3]);
    let manifest = std::fs::read_to_string(root.join("manifest.jsonl")).unwrap();
    let entries: Vec<serde_json::Value> =
        manifest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 4);
    let owl = entries.iter().find(|entry| entry["file"] == NAMES[2]).unwrap();
    assert_eq!((&owl["prompt"], &owl["width"], &owl["image"]), (&"an owl".into(), &"48".into(), &"1".into()));
}

/// What is there as the manifest says is left out; the rest is drawn, and is what it would have been.
#[test]
fn a_list_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("list.jsonl"), LIST).unwrap();
    draw(root, &[]);
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    let before: Vec<Vec<u8>> = NAMES.iter().map(|name| png(&root.join(name)).0).collect();
    let again =
        reflux(root, &["generate", "--prompts", "list.jsonl", "-o", "{index}.png", "--device", "cpu"]);
    assert!(!again.status.success() && text(&again.stderr).contains("add --resume"), "{again:?}");
    let untouched = read(NAMES[0]);
    std::fs::remove_file(root.join(NAMES[2])).unwrap();
    std::fs::write(root.join(NAMES[3]), "half a pic").unwrap();
    // The line of a run that was killed.
    let manifest = String::from_utf8(read("manifest.jsonl")).unwrap();
    std::fs::write(root.join("manifest.jsonl"), format!("{manifest}{{\"file\": \"1")).unwrap();
    let output = draw(root, &["--resume"]);
    assert!(text(&output.stderr).contains("2 of 4 pictures are there"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert_eq!(read(NAMES[0]), untouched);
    let after: Vec<Vec<u8>> = NAMES.iter().map(|name| png(&root.join(name)).0).collect();
    assert!(before == after);
    let output = draw(root, &["--resume"]);
    assert!(text(&output.stderr).contains("4 of 4 pictures are there"), "{}", text(&output.stderr));
    // With other settings they would be other pictures, in the place of these.
    let others =
        ["generate", "--prompts", "list.jsonl", "--device", "cpu", "-o", "{index}-{prompt}-{seed}.png"];
    let output = reflux(root, &[&others, &TINY[..], &["--resume", "--guidance", "2"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("guidance"), "{}", text(&output.stderr));
    assert!(before == NAMES.iter().map(|name| png(&root.join(name)).0).collect::<Vec<_>>());
}

#[test]
fn lists_that_cannot_be_drawn_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, content) in [
        ("empty.txt", "\n\n"),
        ("key.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"sed\": 1}"),
        ("size.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"width\": 33}"),
        ("two.txt", "a cat\na cat"),
    ] {
        std::fs::write(root.join(name), content).unwrap();
    }
    let out = ["-o", "{index}.png"];
    let list = |file| ["generate", "--prompts", file];
    let cases: Vec<Vec<&str>> = vec![
        [&list("missing.txt")[..], &out].concat(),
        [&list("empty.txt")[..], &out].concat(),
        [&list("key.jsonl")[..], &out].concat(),
        [&list("size.jsonl")[..], &out].concat(),
        [&list("two.txt")[..], &["-o", "{seed}.png"]].concat(),
        [&list("two.txt")[..], &["-o", "{number}.png"]].concat(),
        [&list("two.txt")[..], &["-o", "{index}.gif"]].concat(),
        [&list("two.txt")[..], &["-o", "{seed}/{index}.png"]].concat(),
        [&list("two.txt")[..], &["-o", "-"]].concat(),
        [&list("two.txt")[..], &["a dog"]].concat(),
        vec!["generate", "a cat", "--resume"],
        [&list("two.txt")[..], &out, &["--manifest", "two.txt"]].concat(),
    ];
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    snapshot!("cli__refused_lists", refusals(root, &cases));
    assert_eq!(files(root).len(), 4);
}

/// Placeholders name the pictures of prompts on the command line, too.
#[test]
fn names_have_what_is_known_of_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let arguments = ["generate", "Owl!", "a red apple", "--seed", "3", "--device", "cpu"];
    let said = succeed(root, &[&arguments[..], &TINY, &["-o", "{prompt}-{seed}"]].concat());
    assert_eq!(text(&said.stdout), "owl-3.png\na-red-apple-3.png\n");
    assert_eq!(files(root).len(), 2);
}
