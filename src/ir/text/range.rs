//! Names of one stem that count up, written as one: `attn.{0..19}`.

use crate::Name;
use std::ops::Range;

/// One past the last index that a range can hold; an index is a `u32`.
pub(super) const LIMIT: i64 = 1 << 32;

/// Reads `0..19`, the numbers that `repeat %i in 0..19` counts; the error says why `text` is not a range.
pub(super) fn bounds(text: &str) -> Result<Range<i64>, String> {
    let ends = text.split_once("..").and_then(|(start, end)| Some((index(start)?, index(end)?)));
    match ends {
        None => Err(format!("`{text}` is not a range like `0..19`")),
        Some((_, end)) if end > LIMIT => Err(format!("the range `{text}` exceeds {LIMIT}")),
        Some((start, end)) if start >= end => Err(format!("the range `{text}` is empty")),
        Some((start, end)) => Ok(start..end),
    }
}

/// A number as names spell it, without a sign or leading zeros; one that is too large for anything is the largest.
fn index(text: &str) -> Option<i64> {
    let canonical = text == "0" || !text.is_empty() && !text.starts_with('0');
    let digits = canonical && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(i64::MAX))
}

/// Splits `attn.{0..19}` into its stem and its range; `None` for words that are not ranges of names.
pub(super) fn split(word: &str) -> Option<(&str, &str)> {
    let (stem, range) = word.strip_suffix('}')?.rsplit_once(".{")?;
    (!stem.is_empty() && range.contains("..")).then_some((stem, range))
}

/// Whether `next` is `name` with the index after its, so that one range can hold both.
pub(crate) fn follows(name: &Name, next: &Name) -> bool {
    match (name.split_index(), next.split_index()) {
        (Some((stem, index)), Some((other, after))) => {
            stem == other && index.checked_add(1) == Some(after) && (after as u64) < LIMIT as u64
        }
        _ => false,
    }
}

/// `count` consecutive names from `first` on, as written.
pub(crate) fn written(first: &Name, count: usize) -> String {
    match first.split_index() {
        Some((stem, start)) if count > 1 => format!("%{stem}.{{{start}..{}}}", start + count),
        _ => format!("%{first}"),
    }
}
