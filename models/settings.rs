//! Checks of config files: settings that ask for other results than Reflux computes are refused.

use crate::architecture::{Architecture, ShapeOf, Untold};
use crate::json::shown;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fmt;
use std::ops::RangeInclusive;

/// The most layers of one kind that are accepted. FLUX.1-dev has 38.
pub(crate) const LAYERS: RangeInclusive<usize> = 0..=1000;

/// The factors that are accepted for numbers whose published values lie between 0.1 and 10.
pub(crate) const FACTORS: RangeInclusive<f64> = 1e-3..=1e3;

/// The widths and counts that are accepted: products of three of them still fit 64 bits.
pub(crate) const EXTENTS: RangeInclusive<usize> = 1..=1 << 20;

/// Settings of a kind of config file for which its configuration has no fields.
pub struct Settings {
    /// Settings for which Reflux supports one value, which is also the default. Others would change results.
    pub fixed: &'static [(&'static str, Fixed)],
    /// Settings without effect on what is computed here. Others cause a warning that they are ignored; with `None` there are
    /// no warnings, as transformers keeps whatever a file contains.
    pub without_effect: Option<&'static [&'static str]>,
    /// What to do about a setting that is refused.
    pub fix: &'static str,
}

/// The supported values of a setting. Absent and `null` are always supported.
pub enum Fixed {
    /// One of these names.
    Name(&'static [&'static str]),
    /// A list of nothing but this name.
    Names(&'static str),
    On,
    /// Off; as in Python, 0 is off too.
    Off,
}

impl Fixed {
    fn allows(&self, value: &Value) -> bool {
        let is = |value: &Value, name: &str| value.as_str() == Some(name);
        match self {
            _ if value.is_null() => true,
            Self::Name(names) => names.iter().any(|name| is(value, name)),
            Self::Names(name) => {
                value.as_array().is_some_and(|list| list.iter().all(|value| is(value, name)))
            }
            Self::On => *value == Value::Bool(true),
            Self::Off => *value == Value::Bool(false) || value.as_f64() == Some(0.0),
        }
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(names) => write!(f, "`{}`", names.join("` or `")),
            Self::Names(name) => write!(f, "`{name}` everywhere"),
            Self::On => f.write_str("true"),
            Self::Off => f.write_str("false"),
        }
    }
}

/// What one config file describes: a network, or the scheduler.
pub trait Component: DeserializeOwned {
    /// Its settings without fields.
    const SETTINGS: Settings;

    /// Checks that Reflux supports it, and that its numbers are plausible.
    ///
    /// # Errors
    /// The wrong setting, and what it should be.
    fn check(&self) -> Result<(), String>;

    /// The same for weights of these shapes that are given in place of its own: as the variant of the network that they are.
    /// Where they differ in more, they are refused as weights of another network.
    fn of_variant(self, _shape: ShapeOf) -> Self {
        self
    }

    /// The same derived from the shapes of weights, for networks whose
    /// [architecture](crate::Architecture::settings) allows it.
    ///
    /// # Errors
    /// What the shapes do not determine.
    fn of_shapes(_shape: ShapeOf) -> Result<Self, Untold> {
        Err(Untold::Why("it cannot be derived from the weights of such a network".into()))
    }
}

/// Whether a config file is that of a network of this kind.
pub(crate) fn describes(settings: &Map<String, Value>, architecture: &Architecture) -> bool {
    let is = |key: &str, name: &str| settings.get(key).and_then(Value::as_str) == Some(name);
    match architecture.model_type {
        Some(name) => is("model_type", name),
        None => is("_class_name", architecture.class),
    }
}

/// Refuses a setting that asks for other results than Reflux computes.
pub(crate) fn check_fixed(settings: &Map<String, Value>, rules: &Settings) -> Result<(), String> {
    let scheme = settings.get("quantization_config").filter(|scheme| !scheme.is_null());
    let method =
        scheme.map(|scheme| scheme.get("quant_method").and_then(Value::as_str).unwrap_or("some scheme"));
    // The weights themselves say which of its codes they hold.
    if let Some(method) = method.filter(|method| *method != "bitsandbytes") {
        return Err(format!(
            "`quantization_config` says that the weights are quantized ({method}), which Reflux cannot read; give the \
             model's weights in bf16, f16 or f32, which the pass `quantize(int8dq)` quantizes"
        ));
    }
    for (name, fixed) in rules.fixed {
        if let Some(value) = settings.get(*name).filter(|value| !fixed.allows(value)) {
            let value = shown(value);
            return Err(format!("`{name}` = {value} is not supported, only {fixed} is; {}", rules.fix));
        }
    }
    Ok(())
}

impl Settings {
    /// Whether this setting, which no field has read, is unknown.
    pub(crate) fn is_unknown(&self, name: &str) -> bool {
        let Some(without_effect) = self.without_effect else { return false };
        // Notes of diffusers' own: versions, where files came from.
        let is_note = name.starts_with('_') || name == "quantization_config";
        !is_note && !without_effect.contains(&name) && self.fixed.iter().all(|(fixed, _)| *fixed != name)
    }
}

/// Refuses an implausible number, before anything of that size is allocated.
pub(crate) fn within(setting: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("`{setting}` must be between {} and {}, not {value}", range.start(), range.end()))
}

/// Refuses an implausible real number; `range` has nothing but finite ones.
pub(crate) fn plausible(setting: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("`{setting}` must be between {} and {}, not {value}", range.start(), range.end()))
}

/// Refuses a number that a norm cannot add to a variance: all published ones are 10⁻⁵ or 10⁻⁶, and where one is larger than
/// what it is added to, nothing but zeros is left.
pub(crate) fn epsilon(setting: &str, value: f64) -> Result<(), String> {
    if value > 0.0 && value <= 0.1 {
        return Ok(());
    }
    Err(format!("`{setting}` must be a number above 0, and at most 0.1, not {value}"))
}
