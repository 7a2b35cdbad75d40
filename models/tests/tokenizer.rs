//! The tokenizers against transformers 5.23, on the bundled checkpoint's vocabularies.

use reflux_models::tokenizer::{self, Encoding, Tokenizer, TokenizerError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn emoji(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/emoji")).join(path)
}

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn clip() -> Tokenizer {
    tokenizer::clip(&emoji("tokenizer")).unwrap()
}

fn t5() -> Tokenizer {
    tokenizer::t5(&emoji("tokenizer_2")).unwrap()
}

#[test]
fn prompts_of_the_pipeline_fixtures_have_their_ids() {
    #[derive(Deserialize)]
    struct Case {
        prompt: String,
        clip_ids: Vec<i32>,
        t5_ids: Vec<i32>,
    }
    let (clip, t5) = (clip(), t5());
    let cases: Vec<Case> = fixture("text.json");
    assert_eq!(cases.len(), 6);
    for Case { prompt, clip_ids, t5_ids } in cases {
        assert_eq!(clip.encode(&prompt, 77).unwrap().ids, clip_ids, "{prompt}");
        assert_eq!(t5.encode(&prompt, 32).unwrap().ids, t5_ids, "{prompt}");
    }
}

/// Scripts, combining marks, control characters, special tokens in the text, odd spaces.
#[test]
fn odd_prompts_have_the_ids_of_transformers() {
    #[derive(Deserialize)]
    struct Case {
        prompt: String,
        /// Cut to 77, not padded.
        clip: Vec<i32>,
        /// Cut to 64, not padded.
        t5: Vec<i32>,
    }
    let (clip, t5) = (clip(), t5());
    let cases: Vec<Case> = fixture("tokens.json");
    assert!(cases.len() > 200);
    for Case { prompt, clip: clip_ids, t5: t5_ids } in cases {
        for (Encoding { ids, tokens, cut }, expected, max, pad) in [
            (clip.encode(&prompt, 77).unwrap(), clip_ids, 77, 2047),
            (t5.encode(&prompt, 64).unwrap(), t5_ids, 64, 0),
        ] {
            assert_eq!(ids.len(), max);
            assert_eq!(ids[..tokens], expected, "{prompt:?}");
            assert!(ids[tokens..].iter().all(|&id| id == pad), "{prompt:?}");
            assert!(cut.is_none_or(|cut| tokens == max && prompt.ends_with(&cut)), "{prompt:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let (clip, t5) = (clip(), t5());
    let prompt = "a red apple  on a blue background";
    assert_eq!(clip.encode(prompt, 9).unwrap().cut, None);
    assert_eq!(t5.encode(prompt, 8).unwrap().cut, None);

    let cut = clip.encode(prompt, 6).unwrap();
    assert_eq!(cut.ids, [2046, 320, 566, 1468, 513, 2047]);
    assert_eq!((cut.tokens, cut.cut.as_deref()), (6, Some("a blue background")));

    let cut = t5.encode(prompt, 5).unwrap();
    assert_eq!(cut.ids, [3, 16, 304, 5, 1]);
    assert_eq!((cut.tokens, cut.cut.as_deref()), (5, Some("a blue background")));

    // The four bytes of a face are two tokens, and half a character is told as a whole one.
    let faces = "🙂🙂🙂";
    for max in 2..8 {
        let cut = clip.encode(faces, max).unwrap().cut;
        assert!(cut.is_none_or(|cut| faces.ends_with(&cut)));
    }
}

#[test]
fn special_tokens_alone_need_room() {
    let (clip, t5) = (clip(), t5());
    assert_eq!(clip.encode("apple", 2).unwrap().ids, [2046, 2047]);
    assert_eq!(t5.encode("apple", 1).unwrap().ids, [1]);
    assert!(matches!(clip.encode("", 1), Err(TokenizerError::TooShort { max_length: 1, special: 2 })));
    assert!(matches!(t5.encode("", 0), Err(TokenizerError::TooShort { max_length: 0, special: 1 })));
}

#[test]
fn long_prompts_are_fine() {
    let (clip, t5) = (clip(), t5());
    for prompt in ["x".repeat(100_000), "e\u{301} 🙂".repeat(4_000)] {
        assert_eq!(clip.encode(&prompt, 77).unwrap().tokens, 77);
        let encoding = t5.encode(&prompt, 512).unwrap();
        assert_eq!(encoding.ids.len(), 512);
        assert_eq!(encoding.tokens == 512, encoding.cut.is_some());
    }
    let book = clip.encode(&"x".repeat(100_001), 77).unwrap_err();
    assert!(matches!(book, TokenizerError::TooLong { bytes: 100_001, most: 100_000 }));
}

#[test]
fn the_files_tell_the_length() {
    assert_eq!(clip().model_max_length(), Some(77));
    assert_eq!(t5().model_max_length(), Some(512));
    // Transformers' way of writing that there is no limit.
    let unlimited = edited(|config| config["model_max_length"] = json!(1e30));
    assert_eq!(tokenizer::clip(unlimited.as_ref()).unwrap().model_max_length(), None);
}

/// A copy of the CLIP tokenizer's folder whose `tokenizer_config.json` is edited.
fn edited(edit: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["vocab.json", "merges.txt", "special_tokens_map.json"] {
        fs::copy(emoji("tokenizer").join(file), folder.path().join(file)).unwrap();
    }
    let mut config = read_json(&emoji("tokenizer/tokenizer_config.json"));
    edit(&mut config);
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(folder: &TempDir, prompt: &str) -> Vec<i32> {
    let encoding = tokenizer::clip(folder.as_ref()).unwrap().encode(prompt, 12).unwrap();
    encoding.ids[..encoding.tokens].to_vec()
}

/// All as transformers 5.23 has them.
#[test]
fn rules_of_special_tokens_come_from_the_files() {
    const EXACT: [i32; 12] = [2046, 27, 347, 594, 610, 69, 680, 87, 339, 91, 285, 2047];
    let prompt = "<|ENDOFTEXT|> a";
    // A normalized token is found in the lower-cased prompt, another is not.
    assert_eq!(ids(&edited(|_| {}), prompt), [2046, 2047, 320, 2047]);
    let exact = edited(|config| config["added_tokens_decoder"]["2047"]["normalized"] = json!(false));
    assert_eq!(ids(&exact, prompt), EXACT);
    // Without a list of added tokens the map counts, of whose end tokens the last is a plain string.
    let legacy = edited(|config| drop(config.as_object_mut().unwrap().remove("added_tokens_decoder")));
    assert_eq!(ids(&legacy, prompt), EXACT);
}

#[test]
fn padding_comes_from_the_files() {
    let folder = edited(|config| config["pad_token"] = json!("!"));
    let encoding = tokenizer::clip(folder.as_ref()).unwrap().encode("apple", 5).unwrap();
    assert_eq!(encoding.ids, [2046, 1468, 2047, 0, 0]);
}

#[test]
fn one_file_may_hold_the_clip_tokenizer() {
    let folder = edited(|_| {});
    let merges = fs::read_to_string(folder.path().join("merges.txt")).unwrap();
    let json = json!({
        "added_tokens": [],
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 5}, "direction": "Left", "pad_to_multiple_of": null,
                    "pad_id": 7, "pad_type_id": 0, "pad_token": "x"},
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["<|endoftext|>", 2047],
                           "cls": ["<|startoftext|>", 2046], "trim_offsets": false, "add_prefix_space": false},
        "decoder": null,
        "model": {
            "type": "BPE",
            "vocab": read_json(&folder.path().join("vocab.json")),
            "merges": merges.lines().skip(1).collect::<Vec<_>>(),
            "end_of_word_suffix": "</w>",
        },
    });
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    fs::remove_file(folder.path().join("vocab.json")).unwrap();
    assert_eq!(ids(&folder, "APPLE"), [2046, 1468, 2047]);
}

#[test]
fn unusable_folders_are_refused() {
    let message = |folder: &TempDir| tokenizer::clip(folder.as_ref()).unwrap_err().to_string();

    let folder = edited(|_| {});
    fs::remove_file(folder.path().join("merges.txt")).unwrap();
    assert!(message(&folder).contains("cannot read") && message(&folder).contains("merges.txt"));
    fs::write(folder.path().join("merges.txt"), "three words here\n").unwrap();
    assert!(message(&folder).contains("merges.txt is not a tokenizer file"), "{}", message(&folder));
    fs::write(folder.path().join("vocab.json"), "[]").unwrap();
    assert!(message(&folder).contains("vocab.json is not a tokenizer file"), "{}", message(&folder));
    fs::write(folder.path().join("tokenizer_config.json"), "[").unwrap();
    assert!(
        message(&folder).contains("tokenizer_config.json is not a tokenizer file"),
        "{}",
        message(&folder)
    );

    let unnamed = edited(|config| drop(config.as_object_mut().unwrap().remove("bos_token")));
    assert!(message(&unnamed).contains("no file names the `bos_token`"), "{}", message(&unnamed));
    let unknown = edited(|config| config["pad_token"] = json!("<|padding|>"));
    assert!(message(&unknown).contains("`pad_token` \"<|padding|>\" is not in the vocabulary"));

    let folder = tempfile::tempdir().unwrap();
    let message = tokenizer::t5(folder.as_ref()).unwrap_err().to_string();
    assert!(message.contains("cannot read") && message.contains("tokenizer.json"), "{message}");
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(tokenizer::t5(folder.as_ref()), Err(TokenizerError::Malformed { .. })));
}

/// What lacks a part would read prompts as other tokens.
#[test]
fn parts_of_tokenizers_are_refused() {
    let message = |folder: &TempDir| tokenizer::clip(folder.as_ref()).unwrap_err().to_string();
    let folder = edited(|_| {});
    let merges = fs::read_to_string(folder.path().join("merges.txt")).unwrap();
    let half: Vec<&str> = merges.lines().take(700).collect();
    fs::write(folder.path().join("merges.txt"), half.join("\n")).unwrap();
    assert!(
        message(&folder).contains("it lacks the merges for 835 of the 1534 merged tokens"),
        "{}",
        message(&folder)
    );
    fs::write(folder.path().join("merges.txt"), "#version: 0.2\n").unwrap();
    assert!(message(&folder).contains("it lacks the merges for 1534 of the 1534"), "{}", message(&folder));
    fs::write(folder.path().join("merges.txt"), &merges).unwrap();
    let mut vocab = read_json(&folder.path().join("vocab.json"));
    vocab["a"] = vocab["b"].clone();
    fs::write(folder.path().join("vocab.json"), vocab.to_string()).unwrap();
    assert!(message(&folder).contains("the tokens \"a\" and \"b\" both have the id"), "{}", message(&folder));

    let folder = tempfile::tempdir().unwrap();
    fs::copy(emoji("tokenizer_2/tokenizer_config.json"), folder.path().join("tokenizer_config.json"))
        .unwrap();
    let mut json = read_json(&emoji("tokenizer_2/tokenizer.json"));
    json["post_processor"] = Value::Null;
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let message = tokenizer::t5(folder.as_ref()).unwrap_err().to_string();
    assert!(message.contains("it has no `post_processor` that appends an end token"), "{message}");
}

/// The `tokenizers` crate panics on these.
#[test]
fn a_damaged_normalizer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut json = read_json(&emoji("tokenizer_2/tokenizer.json"));
    json["normalizer"]["precompiled_charsmap"] = json!("AAAA");
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    assert!(matches!(tokenizer::t5(folder.as_ref()), Err(TokenizerError::Malformed { .. })));
}

/// A copy of the T5 tokenizer's folder whose `tokenizer.json` is edited.
fn edited_t5(edit: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(emoji("tokenizer_2/tokenizer_config.json"), folder.path().join("tokenizer_config.json"))
        .unwrap();
    let mut json = read_json(&emoji("tokenizer_2/tokenizer.json"));
    edit(&mut json);
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    folder
}

/// Each of these takes minutes, all memory, or the stack.
#[test]
fn tables_that_are_no_tokenizer_are_refused_by_file() {
    let added = |count: u32, length: usize| -> Vec<Value> {
        let content = |id| format!("t{id}{}", "x".repeat(length));
        (0..count).map(|id| json!({ "id": 3000 + id, "content": content(id), "special": false })).collect()
    };
    let replace = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "a".repeat(1000) });
    let t5 = [
        edited_t5(|json| {
            json["normalizer"] = json!({ "type": "Sequence", "normalizers": [replace, replace] })
        }),
        edited_t5(|json| json["added_tokens"] = json!(added(10_001, 0))),
        // It would get the id that is next.
        edited_t5(|json| {
            let token = json!({ "id": u32::MAX, "content": "apple", "special": true });
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }),
        edited_t5(|json| json["added_tokens"] = json!(added(1, 1_000_000))),
        edited_t5(|json| {
            json["model"]["vocab"].as_array_mut().unwrap().push(json!(["x".repeat(1001), -5.0]))
        }),
        edited_t5(|json| json["model"]["vocab"].as_array_mut().unwrap().resize(500_001, json!(["x", -5.0]))),
    ];
    for folder in t5 {
        let message = tokenizer::t5(folder.as_ref()).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json is not a tokenizer file"), "{message}");
    }
    let decoder = |count: u32, length: usize| -> Value {
        let token = |id: u32| (id.to_string(), json!({ "content": format!("t{id}{}", "x".repeat(length)) }));
        (3000..3000 + count).map(token).collect::<serde_json::Map<_, _>>().into()
    };
    for (count, length) in [(10_001, 0), (1, 1_000)] {
        let folder = edited(|config| config["added_tokens_decoder"] = decoder(count, length));
        let message = tokenizer::clip(folder.as_ref()).unwrap_err().to_string();
        assert!(message.contains("tokenizer_config.json is not a tokenizer file"), "{message}");
    }
    let folder = edited(|_| {});
    let mut vocab = read_json(&folder.path().join("vocab.json"));
    vocab["x".repeat(1001)] = json!(5000);
    fs::write(folder.path().join("vocab.json"), vocab.to_string()).unwrap();
    let message = tokenizer::clip(folder.as_ref()).unwrap_err().to_string();
    assert!(message.contains("vocab.json is not a tokenizer file"), "{message}");
}

/// Tokens that are put around every prompt have embeddings too.
#[test]
fn tokens_beyond_the_embeddings_are_found_wherever_they_come_from() {
    let folder = edited_t5(|json| {
        json["post_processor"]["special_tokens"]["</s>"]["ids"] = json!([4_000_000_000_u32])
    });
    let tokenizer = tokenizer::t5(folder.as_ref()).unwrap();
    let error = tokenizer.check_vocabulary(folder.path(), 1920).unwrap_err();
    assert!(
        matches!(error, TokenizerError::Vocabulary { largest: 4_000_000_000, rows: 1920, .. }),
        "{error}"
    );
    let whole = edited_t5(|_| {});
    tokenizer::t5(whole.as_ref()).unwrap().check_vocabulary(whole.path(), 1920).unwrap();
}

/// A template that has the prompt several times puts what was cut of each together with the others, in all ways.
#[test]
fn a_prompt_is_read_once() {
    let many = |count: usize| {
        edited_t5(|json| {
            let sequence = json["post_processor"]["single"][0].clone();
            let single = json["post_processor"]["single"].as_array_mut().unwrap();
            single.splice(0..1, vec![sequence; count]);
        })
    };
    let twelve = tokenizer::t5(many(12).as_ref()).unwrap();
    let error = twelve.encode(&"a red apple ".repeat(20), 32).unwrap_err().to_string();
    assert!(error.contains("its post_processor makes") && error.contains("of at most 32"), "{error}");
    let error = tokenizer::t5(many(200).as_ref()).unwrap_err().to_string();
    assert!(error.contains("more than 100 entries"), "{error}");
}
