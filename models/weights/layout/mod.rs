//! Layouts: how checkpoints name the tensors of a network, and how these names map to diffusers'.
//!
//! A [`Layout`] describes one kind of checkpoint, and [`LAYOUTS`] lists the supported ones. Any layout may have a prefix before
//! all names of a network, added by tools that save several networks or the name of a variable.

mod description;
mod list;
mod naming;
mod rule;
mod text;
mod vae;

pub(crate) use description::Layout;
pub(crate) use list::LAYOUTS;
pub(super) use list::examples;
pub(super) use naming::Membership;
pub(crate) use naming::Naming;
pub(crate) use rule::TensorRule;
