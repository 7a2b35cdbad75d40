//! The files of tokenizers.

use super::{Outcome, Target, original};
use crate::damage;
use fastrand::Rng;
use reflux_models::tokenizer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is read with a damaged tokenizer, if it can be opened.
const PROMPTS: [&str; 4] =
    ["", "a red apple", "é\u{301}🙂 \u{fdfa} <pad></s>", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  \n\t"];

/// The tokenizers of the bundled model with smaller vocabularies, of which one file is damaged.
pub struct Files {
    t5: Value,
    t5_config: Value,
    clip: [(&'static str, Vec<u8>); 4],
}

/// The folder of each tokenizer.
const T5: &str = "tokenizer_2";
const CLIP: &str = "tokenizer";

impl Files {
    pub fn new() -> Self {
        let json = |path: &str| -> Value { serde_json::from_slice(&original(path)).expect("it is JSON") };
        let mut t5 = json("tokenizer_2/tokenizer.json");
        // Most of the file is tokens and tables, which are all alike.
        t5["model"]["vocab"].as_array_mut().expect("a list of tokens").truncate(100);
        t5["added_tokens"].as_array_mut().expect("a list of tokens").truncate(3);
        let files = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"];
        let clip = files.map(|file| (file, original(&format!("{CLIP}/{file}"))));
        Self { t5, t5_config: json("tokenizer_2/tokenizer_config.json"), clip }
    }

    fn write_t5(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let (mut tokenizer, mut config) = (self.t5.clone(), self.t5_config.clone());
        if rng.usize(0..20) > 0 {
            // The table of characters is decoded for a millisecond; the other normalizers are the smaller half of what can
            // be wrong.
            tokenizer["normalizer"] = json!({ "type": "Sequence", "normalizers": normalizers(rng) });
        }
        let is_config = rng.usize(0..5) == 0;
        damage::json(rng, if is_config { &mut config } else { &mut tokenizer });
        let mut bytes = tokenizer.to_string().into_bytes();
        if !is_config && rng.usize(0..5) == 0 {
            damage::bytes(rng, &mut bytes);
        }
        std::fs::write(folder.join("tokenizer_config.json"), config.to_string())?;
        std::fs::write(folder.join("tokenizer.json"), bytes)?;
        Ok(folder.join(if is_config { "tokenizer_config.json" } else { "tokenizer.json" }))
    }

    fn write_clip(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let damaged = rng.usize(..self.clip.len());
        for (at, (file, bytes)) in self.clip.iter().enumerate() {
            let mut bytes = bytes.clone();
            let value = (at == damaged && at != 1 && rng.bool()).then(|| serde_json::from_slice(&bytes));
            match value {
                Some(value) => {
                    let mut value: Value = value.expect("it is JSON");
                    damage::json(rng, &mut value);
                    bytes = value.to_string().into_bytes();
                }
                None if at == damaged => damage::bytes(rng, &mut bytes),
                None => {}
            }
            std::fs::write(folder.join(file), bytes)?;
        }
        Ok(folder.join(self.clip[damaged].0))
    }
}

/// Some normalizers, as files have them.
fn normalizers(rng: &mut Rng) -> Vec<Value> {
    let known = [
        json!({ "type": "NFC" }),
        json!({ "type": "NFKC" }),
        json!({ "type": "Lowercase" }),
        json!({ "type": "Strip", "strip_left": true, "strip_right": true }),
        json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" }),
        json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": "▁" }),
        json!({ "type": "Replace", "pattern": { "Regex": "(?=(x+)+y)" }, "content": "" }),
        json!({ "type": "Prepend", "prepend": "▁" }),
        json!({ "type": "ByteLevel" }),
    ];
    (0..rng.usize(0..4)).map(|_| known[rng.usize(..known.len())].clone()).collect()
}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        // Vocabularies of CLIP take longer to read than all the rest.
        let is_clip = rng.usize(0..8) == 0;
        let folder = folder.join(if is_clip { CLIP } else { T5 });
        std::fs::create_dir_all(&folder)?;
        if is_clip { self.write_clip(rng, &folder) } else { self.write_t5(rng, &folder) }
    }

    fn read(&self, _folder: &Path, path: &Path) -> Outcome {
        let folder = path.parent().expect("it is in a folder");
        let open = if folder.ends_with(CLIP) { tokenizer::clip } else { tokenizer::t5 };
        let tokenizer = open(folder).map_err(|error| error.to_string())?;
        tokenizer.check_vocabulary(folder, 4_000).map_err(|error| error.to_string())?;
        for prompt in PROMPTS {
            let encoding = tokenizer.encode(prompt, 32).map_err(|error| error.to_string())?;
            assert_eq!(encoding.ids.len(), 32, "{prompt:?} has another length");
            let is_known = |id: &i32| (0..4_000).contains(id);
            assert!(encoding.ids.iter().all(is_known), "{prompt:?} has unknown tokens: {:?}", encoding.ids);
        }
        Ok(())
    }
}
