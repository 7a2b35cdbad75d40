//! `--device`

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser, ValueParser, ValueParserFactory};
use reflux_runtime::Device;

/// A device, or the best available one.
#[derive(Clone, Copy, Debug)]
pub struct DeviceArg(Option<Device>);

const AUTO: &str = "auto";

impl From<DeviceArg> for Device {
    fn from(DeviceArg(device): DeviceArg) -> Self {
        device.unwrap_or_else(Self::auto)
    }
}

/// The devices of this build; for one that it does not include, the error says how to build it.
impl ValueParserFactory for DeviceArg {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        let value = |device: Device| PossibleValue::new(device.name()).aliases(device.aliases());
        let auto = PossibleValue::new(AUTO).help("The GPU if a usable one is found, else the processor");
        let left_out = Device::left_out().iter().map(|name| PossibleValue::new(*name).hide(true));
        let known: Vec<_> = Device::all().map(value).chain([auto]).chain(left_out).collect();
        let device = |name: String| match () {
            () if name.eq_ignore_ascii_case(AUTO) => Ok(DeviceArg(None)),
            () => name.parse().map(|device| DeviceArg(Some(device))),
        };
        PossibleValuesParser::new(known).try_map(device).into()
    }
}
