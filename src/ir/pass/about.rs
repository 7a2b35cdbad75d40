//! Documentation of passes, derived from the doc comments and types of their options.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// The documentation of a pass, from its struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The struct's doc comment, without markup for browsers.
    pub doc: String,
    /// Its fields, in order.
    pub options: Vec<OptionInfo>,
}

/// An option of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    pub name: String,
    /// The field's doc comment, or its type's.
    pub doc: String,
    /// The default, as pipelines spell it. `None` if the option is required, if the default is an empty list, or if no value
    /// means the same as leaving it out.
    pub default: Option<String>,
    pub is_required: bool,
    /// What kind of value it has.
    pub kind: OptionKind,
    /// Its possible values, if they can be listed.
    pub values: Vec<OptionValue>,
}

/// The kind of value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// One of those that are listed.
    Choice,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// True or false.
    Switch,
    /// A list of this many numbers.
    Numbers(usize),
    /// Anything else; the pass parses it itself.
    Other,
}

/// One of the values that an option can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionValue {
    pub name: String,
    /// The variant's doc comment.
    pub doc: String,
}

impl About {
    /// Reads the schema of `P`, whose fields are the options of a pass.
    pub fn of<P: JsonSchema>() -> Self {
        let schema = schemars::schema_for!(P).to_value();
        let nothing = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&nothing);
        let options = properties.iter().map(|(name, property)| option(&schema, name, property));
        Self { doc: doc(&schema), options: options.collect() }
    }
}

fn option(schema: &Value, name: &str, property: &Value) -> OptionInfo {
    let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name));
    let values = listed(schema, property).map(Vec::as_slice).unwrap_or_default();
    let default =
        property.get("default").filter(|value| !value.is_null() && **value != json!([])).map(value_text);
    let own = doc(property);
    let of_type = || definition(schema, property).map(doc).unwrap_or_default();
    let values: Vec<OptionValue> = values.iter().flat_map(option_values).collect();
    OptionInfo {
        kind: if values.is_empty() { kind(property) } else { OptionKind::Choice },
        name: name.to_owned(),
        doc: if own.is_empty() { of_type() } else { own },
        default,
        is_required: required,
        values,
    }
}

/// The kind of a value that is not listed.
fn kind(property: &Value) -> OptionKind {
    let is = |schema: &Value, name: &str| match &schema["type"] {
        Value::Array(names) => names.iter().any(|other| other == name),
        only => only == name,
    };
    match () {
        () if is(property, "integer") => OptionKind::Whole,
        () if is(property, "number") => OptionKind::Number,
        () if is(property, "boolean") => OptionKind::Switch,
        () if is(property, "array") && is(&property["items"], "number") => {
            // Options have arrays, whose length is their type's.
            let count = property["maxItems"].as_u64().and_then(|count| usize::try_from(count).ok());
            count.map_or(OptionKind::Other, OptionKind::Numbers)
        }
        () => OptionKind::Other,
    }
}

/// The type that `property` refers to, if it has a name.
fn definition<'s>(schema: &'s Value, property: &Value) -> Option<&'s Value> {
    let name = property["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    schema["$defs"].get(name)
}

/// The alternatives that the type of `property` lists, if it does.
fn listed<'s>(schema: &'s Value, property: &'s Value) -> Option<&'s Vec<Value>> {
    let kind = definition(schema, property).unwrap_or(property);
    kind.get("oneOf").or_else(|| kind.get("enum"))?.as_array()
}

/// One documented value, or several that are not.
fn option_values(listed: &Value) -> Vec<OptionValue> {
    let value = |name: &Value, doc: String| OptionValue { name: value_text(name), doc };
    match (listed.get("const"), listed.get("enum").and_then(Value::as_array)) {
        (Some(name), _) => vec![value(name, doc(listed))],
        (None, Some(names)) => names.iter().map(|name| value(name, String::new())).collect(),
        (None, None) => vec![value(listed, String::new())],
    }
}

/// A value of an option as pipelines spell it.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(value_text).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// The doc comment of a type, a field or a variant.
fn doc(schema: &Value) -> String {
    plain(schema["description"].as_str().unwrap_or_default())
}

/// Markdown for terminals: code blocks are indented, links are replaced by their text.
fn plain(markdown: &str) -> String {
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            lines.push(format!("    {line}"));
        } else {
            lines.push(without_links(line));
        }
    }
    lines.join("\n")
}

/// `[text](target)` as `text`, and ``[`Name`]`` as `` `Name` ``; other brackets stay.
fn without_links(line: &str) -> String {
    let Some((before, (text, after))) =
        line.split_once('[').and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
    else {
        return line.to_owned();
    };
    let is_code = text.len() > 1 && text.starts_with('`') && text.ends_with('`');
    match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
        Some((_, after)) => format!("{before}{text}{}", without_links(after)),
        None if is_code => format!("{before}{text}{}", without_links(after)),
        None => format!("{before}[{text}]{}", without_links(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    /// Does [`this`](Self) by [rate](crate::Rate), see [`Rule`].
    ///
    /// ```text
    /// %y [text](kept)
    /// ```
    ///
    /// A type `bf16[2,3]` and [100, 950] stay, as does `[`.
    #[derive(JsonSchema, Serialize, Deserialize)]
    struct Options {
        /// Which.
        rule: Rule,
        #[serde(default)]
        other: Rule,
        #[serde(default = "two")]
        count: usize,
        several: Option<Vec<String>>,
        window: Option<[f64; 2]>,
        weight: Option<f64>,
        on: Option<bool>,
    }

    /// One of two.
    #[derive(Default, JsonSchema, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Rule {
        /// The first.
        #[default]
        OneThing,
        Another,
    }

    fn two() -> usize {
        2
    }

    #[test]
    fn what_is_documented_is_read() {
        let About { doc, options } = About::of::<Options>();
        assert_eq!(
            doc,
            "Does `this` by rate, see `Rule`.\n\n    %y [text](kept)\n\nA type `bf16[2,3]` and [100, 950] stay, as does `[`."
        );
        let [rule, other, count, several, window, weight, on] = &options[..] else { panic!("{options:?}") };
        assert_eq!((&*rule.name, &*rule.doc, rule.is_required), ("rule", "Which.", true));
        let values: Vec<_> = rule.values.iter().map(|value| (&*value.name, &*value.doc)).collect();
        assert_eq!(values, [("another", ""), ("one-thing", "The first.")]);
        assert_eq!((&*other.doc, other.default.as_deref()), ("One of two.", Some("one-thing")));
        assert_eq!((count.default.as_deref(), count.is_required), (Some("2"), false));
        assert_eq!((several.default.as_deref(), several.is_required), (None, false));
        use OptionKind::{Choice, Number, Numbers, Other, Switch, Whole};
        let kinds = [rule, other, count, several, window, weight, on].map(|option| option.kind);
        assert_eq!(kinds, [Choice, Choice, Whole, Other, Numbers(2), Number, Switch]);
    }
}
