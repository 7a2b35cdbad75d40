//! How to open a pipeline.

use super::memory::Memory;
use reflux_ir::pass::Recipe;
use reflux_ir::{DType, Program};
use reflux_models::Parts;
use reflux_models::weights::Distribution;
use reflux_runtime::Device;
use std::path::PathBuf;
use std::sync::Arc;

/// How to open a pipeline.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Where to run; the processor if not given.
    pub device: Option<Device>,
    /// The dtype to compute in; f32 on the processor and bf16 on a GPU if not given.
    pub dtype: Option<DType>,
    /// Networks whose weights replace those in the model's folder.
    pub parts: Parts,
    /// The passes to run on the transformer before it is loaded: together with the default ones, which are
    /// [`reflux_passes::LOSSLESS_PACKED`] on the processor and [`reflux_passes::LOSSLESS`] on a GPU, or exactly these.
    pub passes: Recipe,
    /// The transformer's program, instead of the lowered one. Only the passes of `passes` run on it. It determines the dtype, and
    /// the defaults of requests.
    pub program: Option<Arc<Program>>,
    /// Where to write the transformer's program between passes.
    pub dump_dir: Option<PathBuf>,
    /// What stays on the device.
    pub memory: Memory,
    /// How weights are distributed that no file has.
    pub random: Distribution,
}
