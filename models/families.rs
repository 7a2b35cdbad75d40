//! The supported model families.

use crate::family::Family;
use crate::flux1;

/// All families. A model that does not name its family is taken for one of the first.
pub static FAMILIES: &[&Family] = &[&flux1::FAMILY];
