//! `--device`

use clap::builder::{
    PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser, ValueParserFactory,
};
use clap::{Arg, Command, Error};
use reflux_runtime::{Device, RunError};
use std::ffi::OsStr;

/// A device, or the best available one.
#[derive(Clone, Copy, Debug)]
pub struct DeviceArg(Option<Device>);

const AUTO: &str = "auto";

impl From<DeviceArg> for Device {
    fn from(DeviceArg(device): DeviceArg) -> Self {
        device.unwrap_or_else(Self::auto)
    }
}

impl DeviceArg {
    /// The device, or the first `count` GPUs.
    ///
    /// # Errors
    /// If this build knows no GPUs, or there cannot be as many.
    pub fn with(self, count: Option<usize>) -> Result<Device, RunError> {
        match count {
            Some(count) => Ok(Device::several(count)?),
            None => Ok(self.into()),
        }
    }
}

/// The devices of this build; for one that it does not include, the error says how to build it.
impl ValueParserFactory for DeviceArg {
    type Parser = DeviceParser;

    fn value_parser() -> DeviceParser {
        DeviceParser
    }
}

/// Parses `auto`, a kind of device, or some of several of a kind: `cuda:1`, `cuda:0-3`.
#[derive(Clone)]
pub struct DeviceParser;

impl DeviceParser {
    fn names() -> Vec<PossibleValue> {
        let value = |device: Device| PossibleValue::new(device.name()).aliases(device.aliases());
        let auto = PossibleValue::new(AUTO).help("The GPU if a usable one is found, else the processor");
        let left_out = Device::left_out().iter().map(|name| PossibleValue::new(*name).hide(true));
        Device::all().map(value).chain([auto]).chain(left_out).collect()
    }
}

impl TypedValueParser for DeviceParser {
    type Value = DeviceArg;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<DeviceArg, Error> {
        // Of a value that has no name of a device, clap says which there are.
        let text = value.to_str().unwrap_or_default();
        let name = text.split(':').next().unwrap_or_default();
        PossibleValuesParser::new(Self::names()).parse_ref(command, arg, OsStr::new(name))?;
        if text.eq_ignore_ascii_case(AUTO) {
            return Ok(DeviceArg(None));
        }
        let parse = |text: String| text.parse().map(|device| DeviceArg(Some(device)));
        StringValueParser::new().try_map(parse).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Self::names().into_iter()))
    }
}
