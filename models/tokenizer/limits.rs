//! Limits of tokenizer files.
//!
//! The `tokenizers` crate trusts its files: time and memory for a prompt grow with what they say. Whatever is refused here is
//! far beyond the files of any published model, and would take minutes or all memory.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The most tokens of a vocabulary, and merges of two of them. The largest published vocabularies have 260 000.
pub(super) const MOST_TOKENS: usize = 500_000;

/// The most tokens beside a vocabulary. T5 has 100.
pub(super) const MOST_ADDED: usize = 10_000;

/// The most bytes of a token.
pub(super) const LONGEST_TOKEN: usize = 1_000;

/// The most bytes of a prompt; text encoders read about two thousand.
pub(super) const LONGEST_PROMPT: usize = 100_000;

/// The most parts of a token, which are itself, its score and where it matches, and of what is put around a prompt.
const MOST_PARTS: usize = 100;

/// The most normalizers.
const MOST_NORMALIZERS: usize = 32;

/// How many times longer normalizers may make a text, all together. T5's could make it 132 times longer, if it had nothing but
/// one Arabic ligature.
const MOST_GROWTH: usize = 256;

/// What of a `tokenizer.json` grows.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outline {
    added_tokens: Option<Tokens<MOST_ADDED>>,
    model: Option<Model>,
    normalizer: Value,
    /// Has the tokens around a prompt one by one, and more than once at that.
    post_processor: Option<Tokens<MOST_PARTS>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Model {
    vocab: Option<Tokens<MOST_TOKENS>>,
    merges: Option<Tokens<MOST_TOKENS>>,
}

/// Checks a `tokenizer.json`.
///
/// # Errors
/// What is too much. What is no tokenizer at all is none of it.
pub(super) fn check(json: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Outline>(json) {
        Ok(outline) => check_normalizer(&outline.normalizer),
        // Everything else is found by who reads the file.
        Err(error) if !error.is_data() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks tokens and their number.
///
/// # Errors
/// What is too much.
pub(super) fn check_tokens<'t>(
    tokens: impl ExactSizeIterator<Item = &'t str>,
    most: usize,
) -> Result<(), String> {
    check_count(tokens.len(), most)?;
    tokens.map(str::len).try_for_each(check_length)
}

fn check_count(count: usize, most: usize) -> Result<(), String> {
    if count <= most {
        Ok(())
    } else {
        Err(format!("one of its lists of tokens has more than {most} entries"))
    }
}

fn check_length(bytes: usize) -> Result<(), String> {
    if bytes <= LONGEST_TOKEN {
        return Ok(());
    }
    Err(format!("one of its tokens has {bytes} bytes; at most {LONGEST_TOKEN} are expected"))
}

/// A list or a map of at most `MOST` tokens, whatever else it says of each. Nothing of it is kept.
struct Tokens<const MOST: usize>;

impl<'de, const MOST: usize> Deserialize<'de> for Tokens<MOST> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Measure { most: MOST })?;
        Ok(Self)
    }
}

/// Reads a value that has at most so many parts, and no long text.
struct Measure {
    most: usize,
}

/// A part of such a value.
struct Part;

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Measure { most: MOST_PARTS })?;
        Ok(Self)
    }
}

impl<'de> Visitor<'de> for Measure {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        check_length(text.len()).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut count = 0;
        while list.next_element::<Part>()?.is_some() {
            count += 1;
            check_count(count, self.most).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut count = 0;
        while map.next_entry::<Part, Part>()?.is_some() {
            count += 1;
            check_count(count, self.most).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

/// Checks how many normalizers there are, and how long they can make a text.
fn check_normalizer(normalizer: &Value) -> Result<(), String> {
    let mut open = vec![normalizer];
    let (mut count, mut growth) = (0, 1usize);
    while let Some(normalizer) = open.pop() {
        count += 1;
        open.extend(normalizer.get("normalizers").and_then(Value::as_array).into_iter().flatten());
        growth = growth.saturating_mul(growth_of(normalizer)?);
        if count > MOST_NORMALIZERS || growth > MOST_GROWTH {
            return Err(format!(
                "its normalizers are more than {MOST_NORMALIZERS}, or make texts more than {MOST_GROWTH} times longer"
            ));
        }
    }
    Ok(())
}

/// How many times longer, in bytes, one normalizer can make a text of one byte or more.
fn growth_of(normalizer: &Value) -> Result<usize, String> {
    let text = |key: &str| normalizer.get(key).and_then(Value::as_str).unwrap_or_default();
    Ok(match text("type") {
        "Replace" => {
            let pattern = normalizer.get("pattern").and_then(|pattern| pattern.get("String"));
            match pattern.and_then(Value::as_str).map_or(0, str::len) {
                // An empty pattern, and perhaps an expression, matches between characters.
                0 => text("content").len() + 1,
                length => text("content").len().div_ceil(length).max(1),
            }
        }
        "Prepend" => text("prepend").len() + 1,
        "Precompiled" => longest_replacement(text("precompiled_charsmap"))
            .ok_or("its `precompiled_charsmap` is shorter than it says")?
            .max(1),
        // The longest compatibility decomposition is that of a ligature of 3 bytes, in 33; canonical ones are at most three times
        // longer, and so is every byte as a letter.
        "NFKD" | "NFKC" => 11,
        "NFD" | "NFC" | "Lowercase" | "Nmt" | "ByteLevel" | "BertNormalizer" => 3,
        _ => 1,
    })
}

/// The longest text that a character is replaced by: a map is the length of its index in 4 bytes, the index, and texts that each
/// end with a zero; all of it in base64. Nothing if the index is longer than what there is: room for it would be made all the same.
fn longest_replacement(map: &str) -> Option<usize> {
    let bytes = from_base64(map);
    let (index, rest) = bytes.split_first_chunk()?;
    let texts = rest.get(u32::from_le_bytes(*index) as usize..)?;
    texts.split(|&byte| byte == 0).map(<[u8]>::len).max()
}

/// The bytes that `text` stands for, up to the first character that is none of base64's.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [None; 256];
    (0u32..).zip(DIGITS).for_each(|(value, &digit)| values[usize::from(digit)] = Some(value));
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::with_capacity(text.len() / 4 * 3));
    for value in text.bytes().map_while(|digit| values[usize::from(digit)]) {
        (bits, count) = (bits << 6 | value, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(file: &Value) -> Result<(), String> {
        check(file.to_string().as_bytes())
    }

    fn normalizers(list: Value) -> Result<(), String> {
        of(&json!({ "normalizer": { "type": "Sequence", "normalizers": list } }))
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(from_base64("Zm9vYmFy"), b"foobar");
        assert_eq!(from_base64("Zm9vYg=="), b"foob");
        assert_eq!(longest_replacement("BAAAAAAAAABhAGJjZAA="), Some(3));
        // An index of 4 GB, and one longer than all that follows.
        assert_eq!(longest_replacement("/////wAAAABhAGJjZAA="), None);
        assert_eq!(longest_replacement("DAAAAAAAAABhAGJjZAA="), None);
        assert_eq!(longest_replacement(""), None);
    }

    #[test]
    fn normalizers_that_make_texts_very_long_are_refused() {
        let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let same = replace(json!({ "String": "a" }), "b");
        assert_eq!(
            normalizers(json!([{ "type": "NFC" }, same, replace(json!({ "Regex": "\\s+" }), " ")])),
            Ok(())
        );
        assert_eq!(normalizers(json!(vec![same.clone(); 31])), Ok(()));
        let long = "x".repeat(300);
        for list in [
            json!(vec![same; 32]),
            json!(vec![replace(json!({ "String": "a" }), "aa"); 9]),
            json!([replace(json!({ "String": "" }), &long)]),
            json!([replace(json!({ "Regex": "" }), &long)]),
            json!([{ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": long }] }]),
            // An index of no bytes, and one text.
            json!([{ "type": "Precompiled", "precompiled_charsmap": format!("AAAAAA{}", "A".repeat(2) + &"YWFh".repeat(100)) }]),
        ] {
            assert!(normalizers(list.clone()).unwrap_err().contains("times longer"), "{list}");
        }
    }

    #[test]
    fn too_many_or_too_long_tokens_are_refused() {
        let token = |content: &str| json!({ "id": 1, "content": content });
        assert_eq!(of(&json!({ "added_tokens": [token("a")], "model": { "vocab": [["a", -1.5]] } })), Ok(()));
        let long = "x".repeat(LONGEST_TOKEN + 1);
        let many = vec![token("a"); MOST_ADDED + 1];
        let too_many: Vec<u32> = vec![0; MOST_TOKENS + 1];
        for file in [
            json!({ "added_tokens": [token(&long)] }),
            json!({ "added_tokens": many }),
            json!({ "model": { "vocab": [[long, 1.0]] } }),
            json!({ "model": { "vocab": { long.clone(): 1 } } }),
            json!({ "model": { "vocab": too_many } }),
            json!({ "model": { "merges": [long] } }),
            json!({ "post_processor": { "single": vec![json!({ "Sequence": { "id": "A" } }); 101] } }),
        ] {
            assert!(of(&file).unwrap_err().contains("token"), "{}", &file.to_string()[..80]);
        }
        // What is no tokenizer is for others to say.
        assert_eq!(check(b"{\"added_tokens\": [").err(), None);
        assert!(check_tokens([""; 3].into_iter(), 2).is_err());
    }
}
