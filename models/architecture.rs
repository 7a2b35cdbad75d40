//! Kinds of networks, independent of the model that they are part of.

use std::fmt;

/// A kind of network, and what tells its files from those of others. Networks are compared by it as the one static that it is.
pub struct Architecture {
    /// What one is called in a sentence: `a T5 text encoder`.
    pub title: &'static str,
    /// Its class in diffusers or transformers, as `model_index.json` has it, and diffusers' config files as `_class_name`.
    pub class: &'static str,
    /// Its `model_type` in config files of transformers.
    pub model_type: Option<&'static str>,
    /// What stands in front of the names of its tensors: nothing where they are saved by themselves, or what savers of several
    /// networks add.
    pub prefixes: &'static [&'static str],
    /// Where the shapes of its tensors tell its configuration, the settings that tell two of them apart, and their values; none
    /// if the shapes are not those of such a network. Weights of such a network may come without a config file.
    pub settings: Option<fn(ShapeOf) -> Vec<Setting>>,
    /// Why weights of these shapes cannot be used, if they cannot.
    pub refuse: Option<fn(ShapeOf) -> Option<String>>,
}

/// A setting of a configuration, and its value.
pub type Setting = (&'static str, String);

/// The shape of the tensor that diffusers calls so, if there is one.
pub type ShapeOf<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// Why a configuration cannot be read off the shapes of weights.
#[derive(Debug)]
pub enum Untold {
    /// The tensor that diffusers calls so is missing, or has no such shape.
    Tensor(String),
    /// Whatever else.
    Why(String),
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
