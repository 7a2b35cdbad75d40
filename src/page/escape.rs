//! Text from data, such as prompts and names, as parts of a page: nothing in it is obeyed.

/// `text` on one line, with everything written out that would reorder or hide what stands beside it.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => shown.push(' '),
            c if is_obeyed(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Whether `c` is a control character, changes the direction of what follows, or is not allowed in XML.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

/// [`shown`] as text of HTML or as a quoted attribute's value.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// [`shown`] as a cell of a table in Markdown.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in shown(text).chars() {
        if matches!(c, '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '~' | '$') {
            escaped.push('\\');
        }
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A field of CSV (RFC 4180).
pub fn csv(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "</script><b>&\"'\u{202e}\u{7}\n|`_";

    #[test]
    fn nothing_is_obeyed() {
        assert_eq!(shown(EVIL), "</script><b>&\"'\\u{202e}\\u{7} |`_");
        assert_eq!(html(EVIL), "&lt;/script&gt;&lt;b&gt;&amp;&quot;&#39;\\u{202e}\\u{7} |`_");
        assert_eq!(markdown("<b>|`_*\u{2066}"), "&lt;b&gt;\\|\\`\\_\\*\\\\u{2066}");
        assert_eq!(csv("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(csv("größe 🍎"), "größe 🍎");
    }
}
