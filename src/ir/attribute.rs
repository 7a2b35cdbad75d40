//! How the values of attributes are written: what ops print, and what text reads.

use serde_json::{Number, Value};
use std::fmt;

/// The attribute that serde made `value` of, as text; nothing for null and objects, which ops do not use.
pub(crate) fn written(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(written_number(number).to_string()),
        Value::String(word) => Some(word.clone()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(written).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// The number as text reads it back, digit by digit.
pub(crate) fn written_number(number: &Number) -> impl fmt::Display {
    fmt::from_fn(move |f| match number.as_f64() {
        // serde_json prints 0.000001 for 1e-6.
        Some(real) if number.is_f64() => write!(f, "{real:?}"),
        _ => write!(f, "{number}"),
    })
}
