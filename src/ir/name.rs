//! Names of values, of stages, and of modules.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A cheap-to-clone name of a value or a stage, without its `%`.
///
/// Letters, digits, `_` and `.`; a last segment of digits (`attn.17`) is the index in a repeated block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Splits `attn.17` into `("attn", 17)`.
    pub fn split_index(&self) -> Option<(&str, usize)> {
        let (stem, index) = self.0.rsplit_once('.')?;
        // Only a canonical number survives printing: `x.007` must not come back as `x.7`.
        let number = index.parse::<usize>().ok().filter(|n| n.to_string() == index)?;
        Some((stem, number))
    }

    /// The name without its index: `attn` of `attn.17`.
    pub fn stem(&self) -> &str {
        self.split_index().map_or(self, |(stem, _)| stem)
    }

    /// The name with `suffix`; the index of a repeated block stays last, so that the blocks still print rolled.
    pub fn suffixed(&self, suffix: impl fmt::Display) -> Self {
        match self.split_index() {
            Some((stem, index)) => Self::from(format!("{stem}{suffix}.{index}")),
            None => Self::from(format!("{self}{suffix}")),
        }
    }

    /// The first of `name`, `name_2`, `name_3`, … that is free.
    pub fn first_free(&self, is_free: impl Fn(&Self) -> bool) -> Self {
        let candidate = |n: usize| if n == 1 { self.clone() } else { self.suffixed(format_args!("_{n}")) };
        (1..).map(candidate).find(is_free).expect("some name is free")
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<T: AsRef<str>> From<T> for Name {
    fn from(name: T) -> Self {
        Self(Arc::from(name.as_ref()))
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The dotted path of the module an op belongs to, in diffusers' names: `transformer_blocks.3.attn.to_q`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModulePath(Arc<str>);

impl ModulePath {
    /// The path of the whole network.
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// `self.child`; `child` may hold several segments.
    pub fn join(&self, child: impl fmt::Display) -> Self {
        if self.0.is_empty() {
            Self::from(child.to_string())
        } else {
            Self::from(format!("{}.{child}", self.0))
        }
    }

    /// The innermost module that both are in.
    pub fn common(&self, other: &Self) -> Self {
        let shared = self.segments().zip(other.segments()).take_while(|(a, b)| a == b).map(|(a, _)| a);
        Self::from(shared.collect::<Vec<_>>().join("."))
    }

    /// The path with the number of its block left open: `blocks.*.ff.net.0`. Only the first number is a block's.
    pub fn of_any_block(&self) -> String {
        let mut segments: Vec<&str> = self.segments().collect();
        if let Some(index) = segments.iter_mut().find(|segment| segment.parse::<usize>().is_ok()) {
            *index = "*";
        }
        segments.join(".")
    }

    /// Whether it is `module`, or in it.
    pub fn is_within(&self, module: &Self) -> bool {
        let rest = self.0.strip_prefix(&*module.0);
        rest.is_some_and(|rest| rest.is_empty() || module.0.is_empty() || rest.starts_with('.'))
    }

    /// The segments, outermost first; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').filter(|segment| !segment.is_empty())
    }
}

impl<T: AsRef<str>> From<T> for ModulePath {
    fn from(path: T) -> Self {
        Self(Arc::from(path.as_ref()))
    }
}

impl Deref for ModulePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many segments a module path may have at most: what shows programs by module nests as deep.
pub(crate) const MOST_SEGMENTS: usize = 64;

/// Whether the text format can write the name.
pub(crate) fn is_well_formed(name: &str) -> bool {
    let segment =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.split('.').all(segment)
}

/// Whether the text format can write the module path, tensor, stage or program name.
pub(crate) fn is_path(name: &str) -> bool {
    is_well_formed(&name.replace('-', "_"))
}
