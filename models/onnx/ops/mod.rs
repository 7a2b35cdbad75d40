//! ONNX's operators, a file for each group: every function lowers one node.

mod arithmetic;
mod choice;
mod contraction;
mod conv;
mod entries;
mod functions;
mod gather;
mod known_only;
mod layout;
mod norm;
mod pool;
mod reduce;
mod resize;
mod slice;

use super::error::Refusal;
use super::lowering::{At, Value};

/// Lowers a node to the values of its outputs.
pub type Lower = for<'g> fn(&mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal>;

/// The operators of a group, with what lowers each.
type Group = &'static [(&'static str, Lower)];

const GROUPS: [Group; 13] = [
    arithmetic::OPS,
    choice::OPS,
    contraction::OPS,
    conv::OPS,
    functions::OPS,
    gather::OPS,
    known_only::OPS,
    layout::OPS,
    norm::OPS,
    pool::OPS,
    reduce::OPS,
    resize::OPS,
    slice::OPS,
];

/// What lowers nodes of `op`.
pub fn lowering_of(op: &str) -> Option<Lower> {
    GROUPS.into_iter().flatten().find(|(name, _)| *name == op).map(|(_, lower)| *lower)
}
