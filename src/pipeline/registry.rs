//! The passes that pipelines can name.

use super::lora::LORA;
use super::measured;
use reflux_ir::pass::Registry;

/// Every pass that pipelines can name: those of `reflux-passes`, and in their place or beside them those that read files.
pub fn registry() -> Registry {
    reflux_passes::registry().with(LORA).with(measured::cache())
}
