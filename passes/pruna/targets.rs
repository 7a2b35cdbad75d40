//! Which modules of the transformer Pruna's `target_modules` mean.

use super::error::PrunaError;
use reflux_ir::ModulePath;
use reflux_ir::pass::Globs;
use serde_json::Value;
use std::collections::BTreeSet;

/// Patterns of a whole pipeline's modules as patterns of the transformer's.
pub struct Targets {
    /// Nothing to include if there is no list, everything if there is an empty one.
    pub include: Option<Vec<String>>,
    pub exclude: Vec<String>,
    /// Patterns that match no module of the transformer.
    pub elsewhere: Vec<String>,
}

/// The path of the transformer within the pipeline.
const TRANSFORMER: &str = "transformer.";

impl Targets {
    /// Reads `{include = […], exclude = […]}`, the value of `key`. Where `include` is not given, everything is.
    pub fn read(key: &str, value: &Value) -> Result<Self, PrunaError> {
        let malformed = |found: &Value| {
            let why = format!("expected {{ include = [patterns], exclude = [patterns] }}, not {found}");
            PrunaError::value(key, why)
        };
        let Value::Object(table) = value else { return Err(malformed(value)) };
        if table.keys().any(|list| !["include", "exclude"].contains(&list.as_str())) {
            return Err(malformed(value));
        }
        let list = |name: &str| -> Result<Option<Vec<String>>, PrunaError> {
            let Some(list) = table.get(name).filter(|list| !list.is_null()) else { return Ok(None) };
            serde_json::from_value(list.clone()).map(Some).map_err(|_| malformed(value))
        };
        let include = list("include")?.unwrap_or_else(|| vec!["*".into()]);
        if include.is_empty() {
            return Err(PrunaError::value(
                key,
                "`include` is empty, so nothing would be quantized; leave torchao out",
            ));
        }
        let mut elsewhere = Vec::new();
        let mut within = |patterns: Vec<String>| -> Vec<String> {
            let translated = patterns.iter().map(|pattern| (pattern, within_transformer(pattern)));
            let (here, there): (Vec<_>, Vec<_>) = translated.partition(|(_, within)| within.is_some());
            elsewhere.extend(there.into_iter().map(|(pattern, _)| pattern.clone()));
            here.into_iter().filter_map(|(_, within)| within).collect()
        };
        let include = within(include);
        let exclude = within(list("exclude")?.unwrap_or_default());
        let include = match &include[..] {
            [] => None,
            all if all.iter().any(|pattern| pattern == "*") => Some(Vec::new()),
            _ => Some(include),
        };
        Ok(Self { include, exclude, elsewhere })
    }
}

/// The pattern that matches `path` where `pattern` matches `transformer.path`, if it ever does: what is left of it when it
/// has matched that much. There may be several such rests, as of `*.proj_out`.
fn within_transformer(pattern: &str) -> Option<String> {
    let parts = parts(pattern);
    let is_star = |at: usize| parts.get(at) == Some(&"*");
    let mut reached = BTreeSet::from([0]);
    for c in TRANSFORMER.chars() {
        let mut next = BTreeSet::new();
        for at in reached {
            // A star may match nothing.
            let first = (at..).find(|&at| !is_star(at)).unwrap_or(at);
            next.extend(is_star(at).then_some(at));
            next.extend(parts.get(first).is_some_and(|part| matches(part, c)).then_some(first + 1));
        }
        reached = next;
    }
    // A rest that begins with a star matches all that the one without it does.
    let covered = |at: &usize| *at > 0 && is_star(at - 1) && reached.contains(&(at - 1));
    let rests: Vec<String> =
        reached.iter().filter(|at| !covered(at)).map(|&at| parts[at..].concat()).collect();
    match &rests[..] {
        [] => None,
        [rest] => Some(rest.clone()).filter(|rest| !rest.is_empty()),
        several => Some(format!("{{{}}}", several.join(","))),
    }
}

/// The pattern cut into characters, stars and `[…]`.
fn parts(pattern: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        // A bracket that comes first is one of those meant: `[]]`, `[!]]`.
        let class = rest.strip_prefix('[').map(|class| class.strip_prefix('!').unwrap_or(class));
        let close = class.and_then(|class| {
            class.char_indices().skip(1).find(|(_, c)| *c == ']').map(|(at, _)| (class, at))
        });
        let end = close.map_or(c.len_utf8(), |(class, at)| rest.len() - class.len() + at + 1);
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

/// Whether a part of a pattern, no star, matches `c`.
fn matches(part: &str, c: char) -> bool {
    let Ok(globs) = Globs::new(&[part.to_owned()]) else { return false };
    globs.is_match(&ModulePath::from(c.to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::within_transformer;

    #[test]
    fn what_is_left_after_the_transformer() {
        let within = |pattern| within_transformer(pattern).unwrap_or_default();
        assert_eq!(within("transformer.x_embedder"), "x_embedder");
        assert_eq!(within("transformer.*attn*"), "*attn*");
        assert_eq!(within("transformer*"), "*");
        assert_eq!(within("*"), "*");
        assert_eq!(within("*norm*"), "*norm*");
        assert_eq!(within("*.proj_out"), "{*.proj_out,proj_out}");
        assert_eq!(within("*former.*.to_[qk]"), "{*former.*.to_[qk],*.to_[qk]}");
        assert_eq!(within("?ransformer.proj_out"), "proj_out");
        assert_eq!(within("[!x]ransformer[.]proj_out"), "proj_out");
        for elsewhere in
            ["text_encoder.*", "transformer_2.*", "vae*", "transformer", "transformer.", "[ab]*", ""]
        {
            assert_eq!(within(elsewhere), "", "{elsewhere}");
        }
    }
}
