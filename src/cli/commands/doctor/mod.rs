//! `reflux doctor`

mod kernels;

use crate::cli::console::print;
use crate::cli::device::DeviceArg;
use crate::cli::memory::gigabytes;
use crate::cli::seed::SeedArg;
use crate::pipeline::bundled_model;
use crate::{Error, VERSION};
use reflux_runtime::{BURN_VERSION, Device, DeviceError, DeviceInfo, FreeMemory, LinkInfo};
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Args {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Check a device's kernels instead: run small programs on it and compare with reference results
    #[arg(long)]
    kernels: bool,
    /// The device whose kernels to check
    #[arg(long, default_value = "auto", requires = "kernels")]
    device: DeviceArg,
    /// Draw weights and inputs from this seed [default: a different one each time]
    #[arg(long, value_name = "SEED", requires = "kernels", allow_negative_numbers = true)]
    seed: Option<SeedArg>,
}

pub fn doctor(args: &Args) -> Result<(), Error> {
    if args.kernels {
        return kernels::prove(
            args.device.into(),
            args.seed.unwrap_or(SeedArg::Drawn).number_unsaid(),
            args.json,
        );
    }
    let devices: Vec<_> = Device::all().map(|device| (device, device.probe())).collect();
    let model = bundled_model();
    if args.json {
        let device = |(device, found): &(Device, Result<DeviceInfo, DeviceError>)| match found {
            Ok(info) => {
                let free = device.free_memory();
                json!({
                    "device": device,
                    "usable": true,
                    "info": info,
                    "free_memory": free.map(|free| free.bytes),
                    "memory_limit": free.and_then(|free| free.limit),
                    "others": device.all_like().skip(1).map(|other| json!({
                        "device": other,
                        "info": other.probe().ok(),
                        "free_memory": other.free_memory().map(|free| free.bytes),
                    })).collect::<Vec<Value>>(),
                    "link": device.link().map(|link| match link {
                        Ok(link) => json!(link),
                        Err(error) => json!({ "why": error.to_string() }),
                    }),
                })
            }
            Err(error) => json!({ "device": device, "usable": false, "why": error.to_string() }),
        };
        let report = json!({
            "version": VERSION,
            "target": target(),
            "backends": libraries().map(|name| json!({ "name": name, "version": BURN_VERSION })).collect::<Vec<_>>(),
            "backends_left_out": Device::left_out(),
            "devices": devices.iter().map(device).collect::<Vec<Value>>(),
            "bundled_model": model.as_ref().ok(),
        });
        return print(&format!("{report:#}\n"));
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "reflux {VERSION} for {}", target());
    for name in libraries() {
        let _ = writeln!(text, "  {name} {BURN_VERSION}");
    }
    for (device, found) in &devices {
        let _ = match found {
            Ok(info) => writeln!(text, "✓ {device}: {}", describe(info, device.free_memory())),
            Err(error) => writeln!(text, "✗ {device}: {error}"),
        };
        for other in device.all_like().skip(1) {
            let _ = match other.probe() {
                Ok(info) => writeln!(text, "✓ {other}: {}", describe(&info, other.free_memory())),
                Err(error) => writeln!(text, "✗ {other}: {error}"),
            };
        }
        match device.link() {
            Some(Ok(link)) => text += &linked(*device, &link),
            Some(Err(error)) => {
                let _ = writeln!(text, "✗ several {device}s: {error}");
            }
            None => {}
        }
    }
    for name in Device::left_out() {
        if let Err(error) = name.parse::<Device>() {
            let _ = writeln!(text, "✗ {name}: {error}");
        }
    }
    let _ = match &model {
        Ok(path) => writeln!(text, "✓ bundled model: {}", path.display()),
        Err(error) => writeln!(text, "✗ {error}"),
    };
    let _ = writeln!(text, "`--device auto` means {}.", Device::auto());
    print(&text)
}

/// Says how the devices like `device` are linked.
fn linked(device: Device, LinkInfo { library, unreached }: &LinkInfo) -> String {
    if unreached.is_empty() {
        return format!("✓ several {device}s: {library}, and each reaches the memory of every other\n");
    }
    let pairs: Vec<_> = unreached.iter().map(|(from, to)| format!("{from} to {to}")).collect();
    let way = "what they exchange goes through the host, which takes many times as long";
    format!("✗ several {device}s: {library}, but memory is not reached from {}; {way}\n", pairs.join(", "))
}

fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn libraries() -> impl Iterator<Item = &'static str> {
    Device::all().map(Device::library)
}

fn describe(info: &DeviceInfo, free: Option<FreeMemory>) -> String {
    let mut text = format!("{}, {}", info.name, gigabytes(info.memory));
    // Writing to a string cannot fail.
    if let Some(FreeMemory { bytes, limit }) = free {
        let under = limit.map(|limit| format!(" under {limit}")).unwrap_or_default();
        let _ = write!(text, " ({} free{under})", gigabytes(bytes));
    }
    if let Some((major, minor)) = info.compute_capability {
        let _ = write!(text, ", compute capability {major}.{minor}");
    }
    if let Some(version) = info.driver_version {
        let _ = write!(text, ", driver for CUDA {}.{}", version / 1000, version % 1000 / 10);
    }
    text
}
