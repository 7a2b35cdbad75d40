//! Rules that map one tensor of a checkpoint to tensors with diffusers' names.

use super::super::stored::Stored;
use std::iter::once;
use std::slice::from_ref;

/// A tensor, or those of all blocks, by patterns of names.
///
/// In a pattern, `{}` stands for an index, `{-}` for one that the other side counts from the last, and `*` at the end for
/// `weight` or `bias`; a norm's `scale`, which diffusers calls `weight`, may go by either name.
#[derive(Debug)]
pub(crate) enum Rule {
    /// The same tensor by another name.
    Name(&'static str, &'static str),
    /// A second name of a tensor that a file may hold under both.
    Alias(&'static str, &'static str),
    /// Several tensors, one below the other: each but the last has as many rows as the module's matrix has columns.
    Rows(&'static str, &'static [&'static str]),
    /// The two halves of the rows, in the other order.
    Halves(&'static str, &'static str),
    /// A convolution over single pixels, which diffusers has as a matrix.
    Pixel(&'static str, &'static str),
}

impl Rule {
    /// The pattern of the file's name.
    pub(super) fn from(&self) -> &'static str {
        match self {
            Self::Name(from, _)
            | Self::Alias(from, _)
            | Self::Rows(from, _)
            | Self::Halves(from, _)
            | Self::Pixel(from, _) => from,
        }
    }

    /// The patterns of diffusers' names.
    pub(super) fn to(&self) -> &[&'static str] {
        match self {
            Self::Rows(_, to) => to,
            Self::Name(_, to) | Self::Alias(_, to) | Self::Halves(_, to) | Self::Pixel(_, to) => from_ref(to),
        }
    }

    /// The tensors that `stored` comes apart into, one for each name of [`Rule::to`]; `weight` is the matrix of its module.
    /// `None` if its shape does not allow it.
    pub(super) fn split(&self, stored: &Stored, weight: Option<&Stored>) -> Option<Vec<Stored>> {
        match self {
            Self::Name(..) | Self::Alias(..) => Some(vec![stored.clone()]),
            Self::Rows(_, to) => stored.split_rows(*weight?.shape.get(1)?, to.len() - 1),
            Self::Halves(..) => Some(vec![stored.with_halves_swapped()?]),
            Self::Pixel(..) => Some(vec![stored.without_pixels()]),
        }
    }

    /// The shape that the file's tensor has whose parts have these shapes.
    pub(super) fn joined(&self, parts: &[&[usize]]) -> Vec<usize> {
        let mut shape = parts.first().map(|shape| shape.to_vec()).unwrap_or_default();
        match self {
            Self::Rows(..) => {
                if let Some(rows) = shape.first_mut() {
                    *rows = parts.iter().filter_map(|part| part.first()).sum();
                }
            }
            Self::Pixel(..) if shape.len() == 2 => shape.extend([1, 1]),
            _ => {}
        }
        shape
    }
}

/// What the placeholders of a pattern match in a name.
#[derive(Debug, PartialEq)]
pub(super) struct Captures<'a> {
    indices: Vec<usize>,
    parameter: &'a str,
}

/// What `pattern` captures of `name`, if it matches. `last` is the highest of the indices that are counted from it.
pub(super) fn captures<'a>(pattern: &str, name: &'a str, last: usize) -> Option<Captures<'a>> {
    let mut found = Captures { indices: Vec::new(), parameter: "" };
    let (mut patterns, mut segments) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) => return Some(found),
            (Some("*"), Some(segment @ ("weight" | "bias"))) => found.parameter = segment,
            (Some("scale"), Some("scale" | "weight")) => {}
            (Some("{}"), Some(segment)) => found.indices.push(index(segment)?),
            (Some("{-}"), Some(segment)) => found.indices.push(last.checked_sub(index(segment)?)?),
            (Some(pattern), Some(segment)) if pattern == segment => {}
            _ => return None,
        }
    }
}

/// A block's number as checkpoints write it: digits, and nothing before the first that counts.
fn index(segment: &str) -> Option<usize> {
    let is_plain = segment == "0" || !segment.starts_with(['0', '+']);
    segment.parse().ok().filter(|_| is_plain)
}

/// The name that `pattern` makes of what another one captured. `last` is as in [`captures`].
pub(super) fn filled(pattern: &str, captures: &Captures<'_>, last: usize) -> Option<String> {
    let mut indices = captures.indices.iter();
    let segments = pattern.split('.').map(|segment| match segment {
        "{}" => Some(indices.next()?.to_string()),
        "{-}" => Some(last.checked_sub(*indices.next()?)?.to_string()),
        "*" => Some(captures.parameter.to_owned()),
        literal => Some(literal.to_owned()),
    });
    Some(segments.collect::<Option<Vec<_>>>()?.join("."))
}

/// The highest index that a name has where a pattern counts from the last.
pub(super) fn counted_index(pattern: &str, name: &str) -> Option<usize> {
    let at = pattern.split('.').position(|segment| segment == "{-}")?;
    captures(&pattern.replace("{-}", "{}"), name, 0)?;
    index(name.split('.').nth(at)?)
}

impl Stored {
    /// `count` parts of `width` rows each and one of the rest.
    fn split_rows(&self, width: usize, count: usize) -> Option<Vec<Self>> {
        let rows = *self.shape.first()?;
        let rest = width.checked_mul(count).filter(|&rest| rest <= rows)?;
        let even = (0..count).map(|i| i * width..(i + 1) * width);
        even.chain(once(rest..rows)).map(|part| self.rows(part)).collect()
    }

    /// The second half of the rows, then the first.
    fn with_halves_swapped(&self) -> Option<Self> {
        let rows = self.shape.first().copied().filter(|rows| rows.is_multiple_of(2))?;
        let (second, first) = (self.rows(rows / 2..rows)?, self.rows(0..rows / 2)?);
        let encoding = second.encoding.joined(&first.encoding)?;
        Some(Self { encoding, parts: [second.parts, first.parts].concat(), ..self.clone() })
    }

    /// `[a, b, 1, 1]` as `[a, b]`; any other shape stays.
    fn without_pixels(&self) -> Self {
        match self.shape[..] {
            [rows, columns, 1, 1] => Self { shape: vec![rows, columns], ..self.clone() },
            _ => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(rule: &Rule, name: &str, last: usize) -> Option<Vec<String>> {
        let captures = captures(rule.from(), name, last)?;
        rule.to().iter().map(|to| filled(to, &captures, last)).collect()
    }

    #[test]
    fn patterns_rename_in_both_directions() {
        let rule = Rule::Name("up.{-}.block.{}.conv.*", "up_blocks.{}.resnets.{}.conv.*");
        assert_eq!(renamed(&rule, "up.0.block.2.conv.bias", 3).unwrap(), ["up_blocks.3.resnets.2.conv.bias"]);
        let back = captures(rule.to()[0], "up_blocks.3.resnets.2.conv.bias", 3).unwrap();
        assert_eq!(filled(rule.from(), &back, 3).unwrap(), "up.0.block.2.conv.bias");
        for other in [
            "up.4.block.2.conv.bias",
            "up.0.block.2.conv.scale",
            "up.0.block.02.conv.bias",
            "up.0.block.2.conv",
        ] {
            assert_eq!(renamed(&rule, other, 3), None, "{other}");
        }
        assert_eq!(counted_index(rule.from(), "up.5.block.2.conv.bias"), Some(5));
        assert_eq!(counted_index(rule.from(), "down.5.block.2.conv.bias"), None);

        let norm = Rule::Name("norm.query_norm.scale", "norm_q.weight");
        for name in ["norm.query_norm.scale", "norm.query_norm.weight"] {
            assert_eq!(renamed(&norm, name, 0).unwrap(), ["norm_q.weight"]);
        }
        assert_eq!(renamed(&norm, "norm.query_norm.bias", 0), None);
    }
}
