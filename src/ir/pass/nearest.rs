//! The nearest known name to an unknown one.

use std::fmt;

/// The nearest of `names` to `name`, if any is near.
pub fn nearest<'n>(names: impl Iterator<Item = &'n str>, name: &str) -> Option<&'n str> {
    let distance = |known: &&str| strsim::levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let nearest = names.min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.len() / 3).then_some(nearest)
}

/// ` (did you mean …?)` for messages about an unknown name.
pub fn did_you_mean(nearest: &Option<impl fmt::Display>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
