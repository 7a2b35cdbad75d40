//! Which table of a device is the measured one's.

use reflux_ir::Machine;
use reflux_runtime::{Device, DeviceInfo};

/// Of a GPU's name, what tells that a table is for it. An H200 is an H100 with more and faster memory: what waits for
/// memory may be below the floor there.
const GPUS: [(&str, &str); 3] = [("H100", "h100"), ("H200", "h100"), ("L40S", "l40s")];

/// The table for the device, if there is one.
pub fn machine(info: &DeviceInfo) -> Option<&'static Machine> {
    match info.device {
        Device::Cpu => Machine::named("cpu"),
        Device::Cuda => {
            let (_, table) = GPUS.into_iter().find(|(part, _)| info.name.contains(part))?;
            Machine::named(table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_names() {
        let table = |device, name: &str| {
            let info = DeviceInfo {
                device,
                name: name.to_owned(),
                memory: 0,
                compute_capability: None,
                processors: None,
                driver_version: None,
            };
            machine(&info).map(|machine| machine.name)
        };
        assert_eq!(table(Device::Cuda, "NVIDIA H100 80GB HBM3"), Some("h100"));
        assert_eq!(table(Device::Cuda, "NVIDIA H200"), Some("h100"));
        assert_eq!(table(Device::Cuda, "NVIDIA L40S"), Some("l40s"));
        assert_eq!(table(Device::Cuda, "NVIDIA GeForce RTX 4090"), None);
        assert_eq!(table(Device::Cpu, "some processor"), Some("cpu"));
    }
}
