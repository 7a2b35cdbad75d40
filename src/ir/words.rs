//! Errors of the system and of serde, and panics, in plain words without the names of libraries.

use std::any::Any;
use std::io;

/// The reason that `error` gives, for messages that name the file.
pub fn of_io(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let words = match error.kind() {
        Kind::NotFound => "there is no such file or folder",
        Kind::PermissionDenied => "it may not be accessed by this user (permission denied)",
        Kind::IsADirectory => "it is a folder",
        Kind::NotADirectory => "a part of its path is not a folder",
        Kind::StorageFull => "no space is left on the device",
        Kind::QuotaExceeded => "the user's disk quota is used up",
        Kind::ReadOnlyFilesystem => "it is on a read-only file system",
        Kind::FileTooLarge => "it would exceed the file size limit (ulimit -f); raise the limit",
        Kind::InvalidFilename => "its name is too long, or not allowed",
        Kind::OutOfMemory => {
            "there is not enough memory or address space for it; if a limit is set (ulimit -v), raise it"
        }
        Kind::BrokenPipe => "its reader has closed it",
        _ => return of_other(error),
    };
    // An error with its own text says more than its kind.
    if error.get_ref().is_some() { of_other(error) } else { words.to_owned() }
}

fn of_other(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None if text == "stream did not contain valid UTF-8" => "it is not UTF-8 text".to_owned(),
        None => text,
    }
}

/// `message` without most of what it quotes, should that be very long.
pub fn shortened(mut message: String) -> String {
    const LONGEST: usize = 600;
    if let Some((at, _)) = message.char_indices().nth(LONGEST) {
        message.truncate(at);
        message.push('…');
    }
    message
}

/// `a, b or c`.
pub fn either(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The message of a panic that [`std::panic::catch_unwind`] caught.
pub fn of_panic(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// A message of serde without the names of Rust's types.
///
/// ```
/// let words = reflux_ir::words::of_serde("invalid type: string \"2\", expected usize at line 1 column 8");
/// assert_eq!(words, "expected a whole number of at least 0, found text \"2\" at line 1 column 8");
/// ```
pub fn of_serde(text: &str) -> String {
    let (what, place) = match text.rfind(" at line ") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    format!("{}{place}", shortened(plain(what)))
}

fn plain(what: &str) -> String {
    if let Some((found, due)) = what
        .strip_prefix("invalid type: ")
        .or_else(|| what.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        return format!("expected {}, found {}", due_as(due), found_in(found));
    }
    if let Some(rest) = what.strip_prefix("invalid length ") {
        return match rest.split_once(", expected ") {
            Some((length, due)) => format!("expected {}, found {}", due_as(due), values(length)),
            None => format!("found {}", values(rest)),
        };
    }
    if let Some(field) = what.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    if let Some(field) = what.strip_prefix("duplicate field ") {
        return format!("{field} is given twice");
    }
    for unknown in ["unknown variant ", "unknown field "] {
        if let Some((name, known)) = what.strip_prefix(unknown).and_then(|rest| rest.split_once(", ")) {
            let there = match known.strip_prefix("expected ") {
                None => known.to_owned(),
                Some(names) => {
                    format!("the known ones are {}", names.strip_prefix("one of ").unwrap_or(names))
                }
            };
            return format!("{name} is not known; {there}");
        }
    }
    if what.starts_with("data did not match any variant of untagged enum") {
        return "a value has none of the allowed types".to_owned();
    }
    if what.starts_with("EOF while parsing") {
        return "it ends too early".to_owned();
    }
    what.to_owned()
}

/// `1 value`, `2 values`.
fn values(count: &str) -> String {
    format!("{count} value{}", if count == "1" { "" } else { "s" })
}

/// What was found: `string "2"`, `integer `-1``, `map`.
fn found_in(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let kind = match kind {
        "string" => "text",
        "integer" => "the whole number",
        "floating" => return format!("the number {}", value.trim_start_matches("point ")),
        "boolean" => return value.to_owned(),
        "map" => "an object",
        "sequence" => "a list",
        "null" | "unit" => "null",
        _ => return found.to_owned(),
    };
    if value.is_empty() { kind.to_owned() } else { format!("{kind} {value}") }
}

fn due_as(due: &str) -> String {
    match due {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number of at least 0".to_owned(),
        "isize" | "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "string" | "a borrowed string" => "text".to_owned(),
        "a map" => "an object".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ if due.starts_with("struct ") => "an object".to_owned(),
        _ => match due.split_once("array of length ") {
            Some((_, length)) => format!("a list of {length}"),
            None => due.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn said<T: DeserializeOwned>(json: &str) -> String {
        of_serde(&serde_json::from_str::<T>(json).err().expect("it is wrong").to_string())
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Layer {
        #[allow(dead_code)]
        heads: usize,
    }

    #[test]
    fn values_are_said_as_people_write_them() {
        assert!(
            said::<Layer>(r#"{"heads": "4"}"#)
                .starts_with("expected a whole number of at least 0, found text \"4\"")
        );
        assert!(
            said::<Layer>(r#"{"heads": -4}"#)
                .starts_with("expected a whole number of at least 0, found the whole number `-4`")
        );
        assert!(said::<Layer>("{}").starts_with("`heads` is missing at line 1"));
        assert!(said::<Layer>("[]").contains("values"), "{}", said::<Layer>("[]"));
        assert!(said::<Layer>("3").starts_with("expected an object, found the whole number `3`"));
        assert!(
            said::<Layer>(r#"{"width": 1}"#).starts_with("`width` is not known; the known ones are `heads`")
        );
        assert!(said::<f32>("{}").starts_with("expected a number, found an object"));
        assert!(said::<f32>("").starts_with("it ends too early"));
        assert!(said::<[f64; 2]>("[1]").starts_with("expected a list of 2, found 1 value at"));
        for json in ["{", "[1", "\"x", "tru", "{\"heads\": [}"] {
            let words = said::<Layer>(json);
            assert!(!words.contains("usize") && !words.contains("struct"), "{words}");
        }
    }

    #[test]
    fn errors_of_the_system_are_said_without_their_numbers() {
        for number in 1..120 {
            let words = of_io(&io::Error::from_raw_os_error(number));
            assert!(!words.contains("os error") && !words.is_empty(), "{number}: {words}");
        }
        assert_eq!(of_io(&io::ErrorKind::NotFound.into()), "there is no such file or folder");
        assert_eq!(of_io(&io::Error::new(io::ErrorKind::NotFound, "the reason")), "the reason");
    }
}
