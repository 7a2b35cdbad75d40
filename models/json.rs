//! JSON files, with errors that say what is wrong and how to fix it.

use crate::first_bytes::recognise;
use reflux_ir::words;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::de::StrRead;
use serde_path_to_error::Track;

/// The value of a JSON file with these bytes. If there is none, why; what to do is `advice`, unless the bytes tell more.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], advice: &str) -> Result<T, String> {
    parse_with(bytes, advice, |source| T::deserialize(source))
}

/// What [`parse_with`] reads from: it knows where in the document it is.
pub(crate) type Document<'t, 's> =
    serde_path_to_error::Deserializer<'s, 's, &'s mut serde_json::Deserializer<StrRead<'t>>>;

/// [`parse`] by `read`.
pub(crate) fn parse_with<T>(
    bytes: &[u8],
    advice: &str,
    read: impl FnOnce(Document) -> serde_json::Result<T>,
) -> Result<T, String> {
    if bytes.trim_ascii().is_empty() {
        return Err(format!("it is empty ({} bytes); {advice}", bytes.len()));
    }
    if let Some(foreign) = recognise(bytes) {
        return Err(format!("it is {foreign}"));
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let Some(text) = text else {
        let encoding = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, ..] => "in UTF-16",
            _ => "not in UTF-8",
        };
        return Err(format!("it is {encoding}, but JSON must be UTF-8; save it as UTF-8"));
    };
    if text.starts_with('\u{feff}') {
        return Err(
            "it begins with a byte order mark (BOM), which JSON does not allow; save it as UTF-8 without one"
                .into(),
        );
    }
    let (mut source, mut track) = (serde_json::Deserializer::from_str(text), Track::new());
    let value = read(Document::new(&mut source, &mut track)).and_then(|value| source.end().map(|()| value));
    value.map_err(|error| {
        let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
        let at = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
        let is_comment = error.is_syntax() && ["//", "/*", "#"].iter().any(|start| at.starts_with(start));
        let path = track.path();
        // What is no JSON at all is nowhere in the document.
        let named = if error.is_data() && path.iter().next().is_some() {
            format!("`{path}`: ")
        } else {
            String::new()
        };
        let words = words::of_serde(&error.to_string());
        format!("{named}{words}; {}", if is_comment { "JSON has no comments, remove it" } else { advice })
    })
}

/// A value in a message; of a long one, the beginning.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    let start: String = text.chars().take(60).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8]) -> String {
        parse::<Value>(bytes, "fix it").unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        assert_eq!(parse::<Value>(b"{\"a\": \"\xc3\xa9\"}", "").unwrap()["a"], "é");
        assert!(why(b"\xef\xbb\xbf{}").contains("byte order mark"));
        let text = "{\"a\": 1}";
        let utf16 =
            |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
        for bytes in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
            assert!(why(&bytes).contains("UTF-16"), "{bytes:?}");
            let marked =
                [if bytes[0] == 0 { [0xfe, 0xff] } else { [0xff, 0xfe] }.as_slice(), &bytes].concat();
            assert!(why(&marked).contains("UTF-16"), "{marked:?}");
        }
        assert!(why(b"{\"a\": \"\xe9\"}").contains("save it as UTF-8"));
        assert!(why(b"{\n  // by hand\n  \"a\": 1\n}").contains("at line 2 column 3; JSON has no comments"));
        assert!(why(b"{\n  \"a\": }").ends_with("at line 2 column 8; fix it"));
        assert_eq!(why(b" \n"), "it is empty (2 bytes); fix it");
        assert!(why(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        assert!(why(b"<html>").contains("a web page"));
    }
}
