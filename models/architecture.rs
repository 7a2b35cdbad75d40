//! Kinds of networks, independent of the model that they are part of.

use std::fmt;

/// A kind of network, and how to recognise its files. Each is one static, and compared by address.
pub struct Architecture {
    /// Its name in messages, with an article: `a T5 text encoder`.
    pub title: &'static str,
    /// Its class in diffusers or transformers, as in `model_index.json`, and as `_class_name` in diffusers' config files.
    pub class: &'static str,
    /// Its `model_type` in config files of transformers.
    pub model_type: Option<&'static str>,
    /// Prefixes of its tensor names: empty if it is saved alone, or those that tools add when they save several networks.
    pub prefixes: &'static [&'static str],
    /// If the shapes of its tensors determine its configuration, the distinguishing settings and their values; `None` if the
    /// shapes are not those of such a network. Weights of such a network need no config file.
    pub settings: Option<fn(ShapeOf) -> Vec<Setting>>,
    /// Why weights of these shapes cannot be used, if they cannot.
    pub refuse: Option<fn(ShapeOf) -> Option<String>>,
}

/// A setting of a configuration, and its value.
pub type Setting = (&'static str, String);

/// The shape of the tensor with this diffusers name, if there is one.
pub type ShapeOf<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// Why a configuration cannot be derived from the shapes of weights.
#[derive(Debug)]
pub enum Untold {
    /// The tensor with this diffusers name is missing, or has an unexpected shape.
    Tensor(String),
    /// Any other reason.
    Why(String),
}

/// The extent of a tensor along an axis.
///
/// # Errors
/// The tensor's name, if there is no such extent.
pub(crate) fn extent(shape: ShapeOf, name: &str, axis: usize) -> Result<usize, Untold> {
    let extent = shape(name).and_then(|shape| shape.get(axis).copied()).filter(|&extent| extent > 0);
    extent.ok_or_else(|| Untold::Tensor(name.to_owned()))
}

/// How many tensors there are whose names `name` makes of 0, 1, ….
pub(crate) fn count(shape: ShapeOf, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&index| shape(&name(index)).is_some()).count()
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Architecture {}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class)
    }
}
