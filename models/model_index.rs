//! The pipeline that a diffusers folder is for, from `model_index.json`.

use crate::family::Family;
use crate::json::shown;
use crate::net::Net;
use serde_json::{Map, Value};

/// The part that is neither a network nor a tokenizer.
pub(crate) const SCHEDULER: &str = "scheduler";

/// The one of `families` that a `model_index.json` belongs to; networks that are `replaced` may be anything.
///
/// # Errors
/// What the model is instead.
pub(crate) fn family(
    index: &Map<String, Value>,
    families: &[&'static Family],
    replaced: impl Fn(&Net) -> bool,
) -> Result<&'static Family, String> {
    let class = match index.get("_class_name") {
        None | Some(Value::Null) => None,
        Some(Value::String(class)) => Some(class.as_str()),
        Some(other) => {
            return Err(format!("`_class_name` must be the name of a pipeline, not {}", shown(other)));
        }
    };
    let draws_it = |family: &&&Family| class.is_none_or(|class| family.pipelines.contains(&class));
    let Some(family) = families.iter().find(draws_it) else {
        return Err(of_none(class.unwrap_or_default(), families));
    };
    for net in family.nets {
        let (name, expected) = (family.name, net.architecture.class);
        let class = index.get(net.folder).map_or(Ok(None), |part| class_of(net.folder, part))?;
        if let Some(class) = class.filter(|class| *class != expected && !replaced(net)) {
            return Err(format!("`{}` is a `{class}`, not {name}'s `{expected}`", net.folder));
        }
    }
    Ok(family)
}

/// The class of a part, which is given as [library, class], one that was left out as [null, null] or null.
fn class_of<'p>(name: &str, part: &'p Value) -> Result<Option<&'p str>, String> {
    match (part, part.get(1)) {
        (Value::Null, _) | (Value::Array(_), Some(Value::Null)) => Ok(None),
        (Value::Array(_), Some(Value::String(class))) => Ok(Some(class)),
        _ => Err(format!("`{name}` must be a list of a library and a class in it, not {}", shown(part))),
    }
}

/// The error for a model of an unsupported pipeline class.
fn of_none(class: &str, families: &[&'static Family]) -> String {
    let mut others = families.iter().flat_map(|family| family.others);
    let what = match others.find(|(prefix, _)| class.starts_with(prefix)) {
        Some((_, kind)) => format!("{kind} (`{class}`)"),
        None => format!("a model for `{class}`"),
    };
    let join = |of: fn(&Family) -> &'static str| {
        families.iter().map(|family| of(family)).collect::<Vec<_>>().join(" or ")
    };
    format!(
        "this is {what}, but Reflux only draws from prompts with {}; give {}, or a model fine-tuned from them",
        join(|family| family.name),
        join(|family| family.examples)
    )
}

/// Parts in the index that `family` does not use, except those declared absent, and notes.
pub(crate) fn unused(index: &Map<String, Value>, family: &Family) -> Vec<String> {
    let is_known = |name: &str| {
        let is_net = || family.nets.iter().any(|net| net.folder == name);
        name.starts_with('_') || name == SCHEDULER || family.tokenizers.contains(&name) || is_net()
    };
    let named = index.iter().filter(|(name, part)| !is_known(name) && !is_null(part));
    named.map(|(name, _)| name.clone()).collect()
}

/// Whether a part is declared absent: null, or a pair of nulls.
pub(crate) fn is_null(part: &Value) -> bool {
    part.is_null() || part.as_array().is_some_and(|pair| !pair.is_empty() && pair.iter().all(Value::is_null))
}
