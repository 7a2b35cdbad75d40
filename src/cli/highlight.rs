//! Colours of IR text on terminals.

use super::console::escaped;
use anstyle::{AnsiColor, Effects, Style};
use std::fmt::Write;

const WORD: Style = AnsiColor::Magenta.on_default();
const VALUE: Style = AnsiColor::Blue.on_default();
const WEIGHT: Style = AnsiColor::Yellow.on_default();
const TYPE: Style = AnsiColor::Green.on_default();
const QUIET: Style = Style::new().effects(Effects::DIMMED);

/// The words that begin a line of a program, or stand in one, besides the names of ops.
const WORDS: [&str; 11] = [
    "program", "input", "carry", "prepare", "variant", "probe", "chooses", "repeat", "yield", "return",
    "schedule",
];

/// `text`, IR or what else has its lines, in colours. What a terminal would obey in it is escaped.
pub fn highlighted(text: &str) -> String {
    let text = escaped(text);
    let mut coloured = String::with_capacity(2 * text.len());
    for line in text.split_inclusive('\n') {
        let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
        highlight(&mut coloured, code);
        push(&mut coloured, QUIET, comment);
    }
    coloured
}

fn highlight(out: &mut String, code: &str) {
    // What stands behind `in` is a module's path.
    let mut last = "";
    let mut rest = code;
    while let Some(start) = rest.find(is_of_word) {
        out.push_str(&rest[..start]);
        let end = start + word_length(&rest[start..]);
        let word = &rest[start..end];
        push(out, style(word, last, rest[..start].ends_with(": ")), word);
        (last, rest) = (word, &rest[end..]);
    }
    out.push_str(rest);
}

/// How long the word is with which `text` begins; the extents of a type belong to it, and the commas between them.
fn word_length(text: &str) -> usize {
    let end = text.find(|c| !is_of_word(c)).unwrap_or(text.len());
    let is_open = text[..end].contains('[') && !text[..end].contains(']');
    let close = text[end..].find(']').filter(|_| is_open);
    close.map_or(end, |length| end + length + 1)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '%' | '@' | '{' | '}' | '-' | '[' | ']')
}

fn style(word: &str, last: &str, is_type: bool) -> Style {
    match word {
        _ if word.starts_with('%') => VALUE,
        _ if word.starts_with('@') => WEIGHT,
        "in" => QUIET,
        _ if last == "in" => QUIET,
        _ if is_type || word.contains('[') && word.ends_with(']') && !word.starts_with('[') => TYPE,
        _ if WORDS.contains(&word) => WORD,
        _ => Style::new(),
    }
}

fn push(out: &mut String, style: Style, text: &str) {
    // The end of a line stays outside, so that a pager sees whole lines.
    let (inside, end) = text.split_at(text.trim_end_matches('\n').len());
    // Writing to a string cannot fail.
    let _ = match style == Style::new() || inside.is_empty() {
        true => write!(out, "{text}"),
        false => write!(out, "{style}{inside}{style:#}{end}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of `text` that are coloured, with their colour.
    fn parts(text: &str) -> Vec<(Style, String)> {
        let styles = [WORD, VALUE, WEIGHT, TYPE, QUIET];
        let coloured = highlighted(text);
        assert_eq!(plain(&coloured), text);
        let begins = |part: &str| styles.into_iter().find(|style| part.starts_with(&style.to_string()));
        let mut found = Vec::new();
        let mut rest = &coloured[..];
        while let Some(at) = rest.find('\u{1b}') {
            rest = &rest[at..];
            let style = begins(rest).expect("a colour of ours");
            let begin = style.to_string().len();
            let end = rest[begin..].find('\u{1b}').unwrap() + begin;
            found.push((style, rest[begin..end].to_owned()));
            rest = &rest[end + format!("{style:#}").len()..];
        }
        found
    }

    /// The text without colours.
    fn plain(text: &str) -> String {
        let mut plain = String::new();
        let mut parts = text.split('\u{1b}');
        plain += parts.next().unwrap();
        parts.for_each(|part| plain += part.split_once('m').unwrap().1);
        plain
    }

    #[test]
    fn each_kind_of_word_has_its_colour() {
        let line =
            "    %h.3 = linear %n, @.weight bf16[8,4] {axis=-1} : bf16[1,8] in blocks.3.ff  // 1 FLOP\n";
        let expected = [
            (VALUE, "%h.3"),
            (VALUE, "%n"),
            (WEIGHT, "@.weight"),
            (TYPE, "bf16[8,4]"),
            (TYPE, "bf16[1,8]"),
            (QUIET, "in"),
            (QUIET, "blocks.3.ff"),
            (QUIET, "// 1 FLOP"),
        ];
        assert_eq!(parts(line), expected.map(|(style, text)| (style, text.to_owned())));
        let line = "  variant full (%x) -> (%y) {\n";
        assert_eq!(
            parts(line),
            [(WORD, "variant"), (VALUE, "%x"), (VALUE, "%y")].map(|(style, text)| (style, text.to_owned()))
        );
    }
}
