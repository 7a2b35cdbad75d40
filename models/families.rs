//! The supported model families.

use crate::family::Family;
use crate::flux1;

/// All families. Of a model that does not say which it is of, the first is believed to be it.
pub static FAMILIES: &[&Family] = &[&flux1::FAMILY];
