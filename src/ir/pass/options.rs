//! The options of passes: `(fora, interval=3, window=[100, 950])` to and from JSON.

use super::about::{About, OptionInfo, OptionKind, value_text};
use super::nearest::{did_you_mean, nearest};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};

/// The options of a pass from its serde form, without nulls.
pub fn options_of(pass: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(pass) {
        Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

/// `word` or `[word, word]`, for options that are lists.
///
/// # Errors
/// If it is neither.
pub fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Array(several) => serde_json::from_value(Value::Array(several)).map_err(D::Error::custom),
        one => serde_json::from_value(one).map(|one| vec![one]).map_err(D::Error::custom),
    }
}

/// `options` as pipeline text, in parentheses unless empty. The value of `positional` comes first, without its key.
pub(super) fn print(options: &Map<String, Value>, positional: Option<&str>) -> String {
    let first = positional.and_then(|key| options.get(key)).map(written);
    let rest = options.iter().filter(|(key, _)| Some(key.as_str()) != positional);
    let rest = rest.map(|(key, value)| format!("{key}={}", written(value)));
    let all: Vec<String> = first.into_iter().chain(rest).collect();
    if all.is_empty() { String::new() } else { format!("({})", all.join(",")) }
}

/// A value as it has to be written to be read as that: in quotes where it would not be one word.
pub fn written(value: &Value) -> String {
    let word = |word: &str, in_list: bool| {
        let read = OptionsParser { text: word, at: 0 }.word_in("", in_list);
        if read.is_ok_and(|read| read == word) && !word.starts_with(QUOTES) {
            return word.to_owned();
        }
        let quote = QUOTES.into_iter().find(|quote| !word.contains(*quote)).unwrap_or(QUOTES[0]);
        format!("{quote}{word}{quote}")
    };
    match value {
        Value::String(text) => word(text, false),
        Value::Array(items) => {
            let item = |item: &Value| item.as_str().map_or_else(|| value_text(item), |text| word(text, true));
            format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(","))
        }
        other => value_text(other),
    }
}

/// `options` normalized for the pass that `about` describes: people and tools write `"FORA"` for `fora`, `"2"` and `2.0` for 2,
/// `["norm", "embedding"]` and `embedding+norm` for `norm+embedding`, and `null` for options that are not given.
///
/// # Errors
/// For an unknown option or value, with the nearest known one.
pub(super) fn settled(options: Map<String, Value>, about: &About) -> Result<Map<String, Value>, String> {
    let mut settled = Map::new();
    for (key, value) in options.into_iter().filter(|(_, value)| !value.is_null()) {
        let Some(option) = about.options.iter().find(|option| is_same(&option.name, &key)) else {
            let known: Vec<_> = about.options.iter().map(|option| option.name.as_str()).collect();
            let there = if known.is_empty() {
                "it has none".into()
            } else {
                format!("the options are {}", known.join(", "))
            };
            let meant = did_you_mean(&nearest(known.into_iter(), &key));
            return Err(format!("there is no option `{key}`{meant}; {there}"));
        };
        let value = option.settle(value)?;
        if settled.insert(option.name.clone(), value).is_some() {
            return Err(format!("the option `{}` is given twice", option.name));
        }
    }
    match about.options.iter().find(|option| option.is_required && !settled.contains_key(&option.name)) {
        Some(missing) => Err(missing.request()),
        None => Ok(settled),
    }
}

/// Whether two names are equal apart from case and word separators.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.trim().to_lowercase().replace(['_', ' '], "-");
    plain(a) == plain(b)
}

impl OptionInfo {
    fn settle(&self, value: Value) -> Result<Value, String> {
        match self.kind {
            OptionKind::Choice => self.choice(&value),
            OptionKind::Whole => self.whole(&value),
            OptionKind::Number => self.number(&value).map(Value::Number),
            OptionKind::Switch => self.switch(&value),
            OptionKind::Numbers(count) => match value {
                Value::Array(items) if items.len() == count => {
                    let items = items.iter().map(|item| self.number(item).map(Value::Number));
                    items.collect::<Result<_, _>>().map(Value::Array)
                }
                other => Err(self.refusal(&format!("be a list of {count} numbers"), &other)),
            },
            // Numbers and booleans in configuration files are taken as text here.
            OptionKind::Other => Ok(match value {
                Value::Number(_) | Value::Bool(_) => value_text(&value).into(),
                other => other,
            }),
        }
    }

    /// The listed value that `value` means. Some values join several names by `+`, in any order.
    fn choice(&self, value: &Value) -> Result<Value, String> {
        let text = match value {
            Value::Array(items) => items.iter().map(value_text).collect::<Vec<_>>().join("+"),
            other => value_text(other),
        };
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split('+').map(|part| part.trim().to_owned()).collect();
            parts.sort_by_key(|part| part.to_lowercase());
            parts.join("+")
        };
        let known = self.values.iter().map(|value| value.name.as_str());
        if let Some(meant) = known.clone().find(|name| is_same(&sorted(name), &sorted(&text))) {
            return Ok(meant.into());
        }
        let meant = did_you_mean(&nearest(known.clone(), &text));
        let known: Vec<_> = known.collect();
        Err(format!("`{}` cannot be `{text}`{meant}; it is one of {}", self.name, known.join(", ")))
    }

    fn whole(&self, value: &Value) -> Result<Value, String> {
        let number = self.number(value).map_err(|_| self.refusal("be a whole number", value))?;
        match (number.is_f64(), number.as_f64()) {
            (false, _) if number.is_u64() => Ok(number.into()),
            (_, Some(whole)) if whole < 0.0 => Err(self.refusal("not be negative", value)),
            // Larger numbers cannot have a fraction, so they may have been rounded.
            (true, Some(whole)) if whole.fract() == 0.0 && whole < f64::from(u32::MAX) => {
                Ok((whole as u64).into())
            }
            (true, Some(between)) if between.fract() != 0.0 => {
                let below = between as u64;
                Err(self.refusal(&format!("be a whole number, such as {below} or {}", below + 1), value))
            }
            _ => Err(self.refusal("be a whole number", value)),
        }
    }

    fn number(&self, value: &Value) -> Result<Number, String> {
        let number = match value {
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.refusal("be a number", value))
    }

    fn switch(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::Bool(on) => Ok((*on).into()),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true.into()),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false.into()),
            other => Err(self.refusal("be true or false", other)),
        }
    }

    /// The message that the option must be given, with its possible values.
    fn request(&self) -> String {
        let names: Vec<_> = self.values.iter().map(|value| value.name.as_str()).collect();
        let one_of = if names.is_empty() { String::new() } else { format!(": one of {}", names.join(", ")) };
        format!("`{}` must be given{one_of}", self.name)
    }

    fn refusal(&self, must: &str, value: &Value) -> String {
        format!("`{}` must {must}; it is given as {}", self.name, value_text(value))
    }
}

/// A pass as written: its name, and its options with the bare one under `""`.
pub(super) struct Written {
    pub name: String,
    pub options: Map<String, Value>,
}

/// What may stand around a word.
const QUOTES: [char; 2] = ['"', '\''];

/// The key of a bare option.
pub(super) const BARE: &str = "";

/// Parses `name, name(option, key=value, key=[a,b])`; an error is a message and the offset of the byte that it is about.
pub(super) fn parse(text: &str) -> Result<Vec<Written>, (String, usize)> {
    let mut parser = OptionsParser { text, at: 0 };
    let mut passes = vec![parser.pass()?];
    while parser.accept(',') {
        passes.push(parser.pass()?);
    }
    match parser.peek() {
        None => Ok(passes),
        Some(c) => Err(parser.error(format!("expected `,` or the end, found `{c}`"))),
    }
}

struct OptionsParser<'t> {
    text: &'t str,
    at: usize,
}

impl OptionsParser<'_> {
    fn pass(&mut self) -> Result<Written, (String, usize)> {
        let name = self.word("the name of a pass")?;
        let mut options = Map::new();
        if self.accept('(') {
            while !self.accept(')') {
                if !options.is_empty() && !self.accept(',') {
                    return Err(self.error("expected `,` or `)`"));
                }
                let at = self.at;
                let word = self.word("an option")?;
                let (key, value) = if self.accept('=') {
                    (word, self.value()?)
                } else if options.is_empty() {
                    (BARE.to_owned(), scalar(&word))
                } else {
                    return Err((
                        format!("only the first option can stand alone; `{word}` needs a value"),
                        at,
                    ));
                };
                if options.insert(key.clone(), value).is_some() {
                    return Err((format!("the option `{key}` is given twice"), at));
                }
            }
        }
        Ok(Written { name, options })
    }

    fn value(&mut self) -> Result<Value, (String, usize)> {
        if !self.accept('[') {
            return self.word("a value").map(|word| scalar(&word));
        }
        let mut items = Vec::new();
        while !self.accept(']') {
            if !items.is_empty() && !self.accept(',') {
                return Err(self.error("expected `,` or `]`"));
            }
            items.push(scalar(&self.word_in("a value", true)?));
        }
        Ok(Value::Array(items))
    }

    /// Everything up to the next punctuation, without surrounding space.
    fn word(&mut self, what: &str) -> Result<String, (String, usize)> {
        self.word_in(what, false)
    }

    /// A word, to which brackets and braces belong with all that they hold, as in `*.to_[qk]`. In a list it may start with
    /// a bracket too.
    fn word_in(&mut self, what: &str, in_list: bool) -> Result<String, (String, usize)> {
        self.skip_space();
        let rest = &self.text[self.at..];
        if let Some(length) = quoted(rest) {
            self.at += length;
            return Ok(rest[..length].to_owned());
        }
        let mut depth = 0;
        let is_end = |&(at, c): &(usize, char)| {
            match c {
                '{' => depth += 1,
                '[' if in_list || at > 0 => depth += 1,
                ']' | '}' if depth > 0 => depth -= 1,
                _ => return depth == 0 && matches!(c, ',' | '(' | ')' | '[' | ']' | '='),
            }
            false
        };
        let end = rest.char_indices().find(is_end).map_or(rest.len(), |(at, _)| at);
        let word = rest[..end].trim_end();
        if word.is_empty() || word.contains(char::is_whitespace) {
            let found = match (rest, word) {
                ("", _) => "the end".to_owned(),
                (rest, "") => format!("`{rest}`"),
                (_, word) => format!("`{word}`"),
            };
            return Err(self.error(format!("expected {what}, found {found}")));
        }
        self.at += end;
        Ok(word.to_owned())
    }

    fn accept(&mut self, punct: char) -> bool {
        let found = self.peek() == Some(punct);
        if found {
            self.at += punct.len_utf8();
        }
        found
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&self, message: impl Into<String>) -> (String, usize) {
        (message.into(), self.at)
    }
}

/// The length of the text in quotes, and with them, that `text` begins with. Between the quotes may be anything else.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|first| QUOTES.contains(first))?;
    text[1..].find(quote).map(|end| end + 2)
}

/// A word as text, without quotes around it. Its option gives it a meaning.
fn scalar(word: &str) -> Value {
    let quoted = QUOTES.into_iter().find_map(|quote| word.strip_prefix(quote)?.strip_suffix(quote));
    quoted.unwrap_or(word).into()
}
