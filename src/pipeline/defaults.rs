//! Default passes.

use crate::Error;
use reflux_ir::Advice;
use reflux_ir::pass::Pipeline;
use reflux_models::Role;
use reflux_passes::{LOSSLESS, LOSSLESS_ONCE, LOSSLESS_PACKED, RAISING, registry};
use reflux_runtime::{Device, DeviceInfo, MachineOf};
use std::path::PathBuf;

/// The default passes of a network, which run by default and around the passes that a user asks for. Without a device, those
/// that suit most devices.
pub(crate) fn lossless(role: Role, device: Option<Device>) -> Pipeline {
    let passes = match role {
        Role::Denoiser if device.is_some_and(Device::reads_panels) => LOSSLESS_PACKED,
        Role::Denoiser => LOSSLESS,
        _ if device.is_none_or(Device::optimizes_once) => LOSSLESS_ONCE,
        _ => "",
    };
    let several = device.map(Device::count).filter(|&count| count > 1 && role == Role::Denoiser);
    let passes = match several {
        Some(count) => passes.replace(DIVIDED, &format!("shard(devices={count}),{DIVIDED}")),
        None => passes.to_owned(),
    };
    Pipeline::parse(&passes, &registry()).expect("it is written well")
}

/// The default pass before which a network is divided among devices.
const DIVIDED: &str = "merge-linear";

/// The default passes of a network from an ONNX file, which are those of others behind the pass that puts together what exporters have
/// taken apart.
pub(crate) fn of_onnx(others: Pipeline) -> Pipeline {
    let mut passes = Pipeline::parse(RAISING, &registry()).expect("it is written well");
    passes.append(others);
    passes
}

/// Sets the machine of `device` for `pipeline`; returns a warning if the machine is only the nearest known one.
pub(crate) fn settle(pipeline: &mut Pipeline, device: Device, info: &DeviceInfo) -> Option<String> {
    let MachineOf { machine, warning, .. } = device.machine(info);
    let decides = pipeline.settle(machine);
    warning.filter(|_| decides)
}

/// The folder of the checkpoint that comes with Reflux: in the source tree, or below the current folder.
pub fn bundled_model() -> Result<PathBuf, Error> {
    let roots = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from(".")];
    let found = roots
        .iter()
        .map(|root| root.join("models/emoji"))
        .find(|path| path.join("model_index.json").is_file());
    found.ok_or(Error::NoBundledModel { roots, advice: vec![Advice::Model] })
}
