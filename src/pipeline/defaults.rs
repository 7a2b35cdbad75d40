//! What is used where nobody says otherwise.

use crate::Error;
use reflux_ir::DType;
use reflux_ir::pass::Pipeline;
use reflux_models::Role;
use reflux_passes::{LOSSLESS, LOSSLESS_CPU, LOSSLESS_ONCE, registry};
use reflux_runtime::Device;
use std::path::PathBuf;

/// What networks compute in on `device`.
pub(crate) fn dtype_on(device: Device) -> DType {
    match device {
        Device::Cpu => DType::F32,
        Device::Cuda => DType::BF16,
    }
}

/// The default passes of a network: those that run where nothing is asked for, and around what is.
pub(crate) fn lossless(role: Role, device: Device) -> Pipeline {
    let passes = match (role, device) {
        (Role::Denoiser, Device::Cpu) => LOSSLESS_CPU,
        (Role::Denoiser, Device::Cuda) => LOSSLESS,
        (_, Device::Cuda) => LOSSLESS_ONCE,
        // They run once a picture, and not for long.
        (_, Device::Cpu) => return Pipeline::default(),
    };
    Pipeline::parse(passes, &registry()).expect("it is written well")
}

/// The folder of the checkpoint that comes with Reflux: in the source tree, or below the current folder.
pub fn bundled_model() -> Result<PathBuf, Error> {
    let roots = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from(".")];
    let found = roots
        .iter()
        .map(|root| root.join("models/emoji"))
        .find(|path| path.join("model_index.json").is_file());
    found.ok_or(Error::NoBundledModel(roots))
}
