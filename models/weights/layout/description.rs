//! One way to name tensors.

use super::rule::TensorRule;
use crate::architecture::Architecture;

/// One kind of checkpoint of one kind of network.
#[derive(Debug)]
pub(crate) struct Layout {
    pub architecture: &'static Architecture,
    /// Its name in messages.
    pub names: &'static str,
    /// A tensor's name, to show what names of this layout look like.
    pub example: &'static str,
    /// Names that begin so are of this layout, and no other network's.
    pub marks: &'static [&'static str],
    /// What the names of all tensors of the network begin with.
    pub roots: &'static [&'static str],
    /// Of these, what the network has no use for as Reflux runs it.
    pub unused: &'static [&'static str],
    /// What diffusers calls otherwise; any other name is the same there.
    pub rules: &'static [TensorRule],
}

impl Layout {
    /// Whether a name of a file is that of this layout behind `prefix`.
    pub fn is_marked(&self, prefix: &str, name: &str) -> bool {
        let own = name.strip_prefix(prefix);
        own.is_some_and(|own| self.marks.iter().any(|mark| own.starts_with(mark)))
    }
}
