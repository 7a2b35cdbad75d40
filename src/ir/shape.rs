//! The extents of a value.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// The extents of a value, outermost first. A scalar has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements, or `None` if it does not fit a `usize`.
    pub fn checked_elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    /// Number of elements, saturating at `usize::MAX`.
    pub fn elements(&self) -> usize {
        self.checked_elements().unwrap_or(usize::MAX)
    }

    /// The length of a row, which lies along the last axis; 1 of a scalar, and where there are no elements at least 1.
    pub fn columns(&self) -> usize {
        self.last().copied().unwrap_or(1).max(1)
    }

    /// Number of rows. A scalar is one.
    pub fn rows(&self) -> usize {
        self.elements() / self.columns()
    }

    /// The shape both broadcast to under numpy's rules, if there is one.
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.len().max(other.len());
        let extent = |shape: &Self, axis: usize| match (axis + shape.len()).checked_sub(rank) {
            Some(axis) => shape[axis],
            None => 1,
        };
        (0..rank)
            .map(|axis| match (extent(self, axis), extent(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<T: Into<Vec<usize>>> From<T> for Shape {
    fn from(extents: T) -> Self {
        Self(extents.into())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, extent) in self.iter().enumerate() {
            write!(f, "{}{extent}", if axis == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}
