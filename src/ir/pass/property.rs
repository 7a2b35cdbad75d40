//! Properties of programs that passes require, end or bring about.

use crate::Program;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A property of a program, decided by looking at the program alone.
///
/// Passes declare which properties they [need](super::Pass::requires), [end](super::Pass::ends) and
/// [bring about](super::Pass::brings); the order of a pipeline follows from that, and no pass knows the names of others.
/// Any crate can declare its own properties as constants; properties with the same name are the same.
#[derive(Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    /// The property as a clause: `that every step runs the same graph`.
    pub says: &'static str,
    /// Whether it holds of a program.
    pub holds: fn(&Program) -> bool,
}

/// Every step runs the same graph.
pub const ONE_VARIANT: Property = Property {
    name: "one-variant",
    says: "that every step runs the same graph",
    holds: |program| program.variants.len() == 1,
};

impl PartialEq for Property {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Property {}

impl Hash for Property {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.says)
    }
}
