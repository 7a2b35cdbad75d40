//! How checkpoints name the tensors of a network, and how these names become diffusers'.
//!
//! A [`Layout`] describes one kind of checkpoint, and [`LAYOUTS`] lists those that are read. What stands in front of all names
//! of a network, because its saver stored several networks or the name of a variable, is a prefix, which any layout may have.

mod description;
mod list;
mod naming;
mod rule;
mod text;
mod vae;

pub(crate) use description::Layout;
pub(super) use list::{LAYOUTS, examples};
pub(super) use naming::{Naming, Role};
pub(crate) use rule::Rule;
