//! What schedule rules and predictors can be told: the fields of their structs.

use reflux_ir::pass::{About, OptionInfo, options_of};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Options as the fields of a struct. Their help is the doc comments; what a method's constant has for them holds where they
/// are not given. A field with a default of serde's own has that in every method, and pipelines print it.
pub trait Options: Serialize + DeserializeOwned + JsonSchema {
    /// What is wrong with a value that has the right type.
    fn check(&self) -> Result<(), String>;

    /// These options, but those of `given` that are of them as given.
    fn overlaid(&self, given: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut all = options_of(self);
        for (name, value) in &mut all {
            if let Some(given) = given.get(name) {
                value.clone_from(given);
            }
        }
        let all: Self = serde_json::from_value(Value::Object(all))?;
        all.check().map_err(serde_json::Error::custom)?;
        Ok(all)
    }

    /// What they are, for people. None must be given.
    fn described() -> Vec<OptionInfo> {
        let options = About::of::<Self>().options.into_iter();
        options.map(|option| OptionInfo { is_required: false, ..option }).collect()
    }
}

/// The option `name` as a list of numbers, which pipelines give as text and configuration files as numbers.
pub fn numbers<'de, D: Deserializer<'de>>(name: &str, deserializer: D) -> Result<Vec<f64>, D::Error> {
    let refused = |given: &Value| {
        D::Error::custom(format!("{name} must be a list of numbers, as in [1.0,1.2]; {given} is none"))
    };
    let given = Value::deserialize(deserializer)?;
    let number = |item: &Value| match item {
        Value::Number(number) => number.as_f64().ok_or_else(|| refused(item)),
        Value::String(text) => text.trim().parse().map_err(|_| refused(item)),
        other => Err(refused(other)),
    };
    given.as_array().ok_or_else(|| refused(&given))?.iter().map(number).collect()
}
