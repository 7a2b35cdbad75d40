//! The networks of a model family.

use crate::architecture::Architecture;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A network of a model family: its role, and its folder. Each is one static, and compared by address.
pub struct Net {
    /// Its name for users: `t5`.
    pub name: &'static str,
    /// Its folder in a diffusers model.
    pub folder: &'static str,
    /// A description with an example of a file: `the text encoder T5, such as t5xxl_fp16.safetensors`.
    pub help: &'static str,
    pub architecture: &'static Architecture,
    pub role: Role,
    /// The network with which it shares its weight files and their option, if they are not its own.
    pub shares: Option<&'static Net>,
    /// All networks of its family, in the order in which a picture needs them.
    pub family: &'static [&'static Net],
}

/// The role of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It makes the denoiser's conditioning, once per prompt.
    TextEncoder,
    /// It runs at every step.
    Denoiser,
    /// It makes a picture from the final latents.
    Decoder,
    /// It makes latents from a picture that is given, once per request.
    Encoder,
}

impl Net {
    /// The option of the command line for its weights.
    pub fn option(&self) -> String {
        format!("--{}", self.part())
    }

    /// The name by which its weights are replaced.
    pub fn part(&self) -> &'static str {
        self.shares.map_or(self.name, |net| net.name)
    }

    /// The message for a network of the kind `other` in the place of this one.
    pub(crate) fn instead(&self, other: &Architecture) -> String {
        let due = self.architecture.title;
        match self.family.iter().find(|net| net.architecture == other) {
            Some(place) => format!(
                "{}, but {due} is needed here; put this file into {}/ or give it with {}",
                other.title,
                place.folder,
                place.option()
            ),
            None => format!("{}, but {due} is needed here", other.title),
        }
    }
}

impl PartialEq for Net {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Net {}

impl Hash for Net {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
