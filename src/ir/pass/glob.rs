//! Patterns of module paths.

use super::PassError;
use crate::ModulePath;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// Patterns of dotted module paths, as in Python's `fnmatch`: `*` matches anything, dots included, `?` one character, `[…]`
/// one of several. A pattern that matches a module matches everything in it, and never part of a segment: `blocks.1` matches
/// `blocks.1.attn.to_q`, but not `blocks.10`.
#[derive(Clone, Debug)]
pub struct Globs {
    set: GlobSet,
}

/// An invalid pattern.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{pattern}` is not a pattern of module paths: {why}")]
pub struct PatternError {
    pub pattern: String,
    pub why: String,
}

impl From<PatternError> for PassError {
    fn from(error: PatternError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl Globs {
    /// The union of `patterns`.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            let failed = |error: globset::Error| PatternError {
                pattern: pattern.clone(),
                why: error.kind().to_string(),
            };
            builder.add(Glob::new(pattern).map_err(failed)?);
        }
        let failed =
            |error: globset::Error| PatternError { pattern: patterns.join(" "), why: error.to_string() };
        builder.build().map(|set| Self { set }).map_err(failed)
    }

    /// Which of the patterns, by index, match `path` or a module that it is in.
    pub fn matches(&self, path: &ModulePath) -> Vec<usize> {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let mut matches: Vec<usize> = ends.flat_map(|end| self.set.matches(&path[..end])).collect();
        matches.sort_unstable();
        matches.dedup();
        matches
    }

    /// Whether any of the patterns matches `path` or a module that it is in.
    pub fn is_match(&self, path: &ModulePath) -> bool {
        let mut ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        ends.any(|end| self.set.is_match(&path[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Globs::new(&[pattern.to_owned()]).unwrap().is_match(&ModulePath::from(path))
    }

    #[test]
    fn segments_are_whole() {
        assert!(matches("blocks.1", "blocks.1.attn.to_q"));
        assert!(!matches("blocks.1", "blocks.10.attn.to_q"));
        assert!(matches("blocks.1*", "blocks.10.attn.to_q"));
        assert!(matches("blocks.*.attn.to_[qk]", "blocks.10.attn.to_k"));
        assert!(!matches("attn", "blocks.1.attn"));
        assert!(matches("*.attn", "blocks.1.attn.to_q"));
        assert!(!matches("*.1", "blocks.11"));
        assert!(matches("proj_out", "proj_out") && !matches("proj_out", "single.0.proj_out"));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let error = Globs::new(&["blocks.[0".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`blocks.[0` is not a pattern of module paths: unclosed character class; missing ']'"
        );
    }
}
