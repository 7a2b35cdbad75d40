//! The nearest known name to an unknown one.

use std::fmt;

/// The one of `names` that `name` was meant to be, if any is near.
pub(super) fn nearest<'n>(names: impl Iterator<Item = &'n str>, name: &str) -> Option<&'n str> {
    let distance = |known: &&str| strsim::levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let nearest = names.min_by_key(distance)?;
    (distance(&nearest) <= 1 + nearest.len() / 3).then_some(nearest)
}

/// The name that was meant, as messages about one that is not there say it.
pub fn did_you_mean(nearest: &Option<impl fmt::Display>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
