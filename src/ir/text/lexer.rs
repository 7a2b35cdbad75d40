//! Text into tokens, and the errors that point into it.

use std::fmt;

/// A stretch of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// In characters.
    pub length: usize,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    pub message: String,
    pub span: Span,
    /// The offending line.
    pub source_line: String,
}

impl ParseError {
    pub(super) fn new(source: &str, span: Span, message: impl Into<String>) -> Self {
        let source_line = source.lines().nth(span.line.saturating_sub(1)).unwrap_or_default().to_owned();
        Self { message: message.into(), span, source_line }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { line, column, length } = self.span;
        // Only a window of a very long line is worth showing.
        const BEFORE: usize = 60;
        const WIDTH: usize = 120;
        let skipped = (column - 1).saturating_sub(BEFORE);
        // A tab is one column, so that the carets stand below what they mean.
        let shown: String = self.source_line.chars().skip(skipped).take(WIDTH).collect();
        let shown = shown.replace('\t', " ");
        let carets = "^".repeat(length.clamp(1, WIDTH - (column - 1 - skipped).min(WIDTH - 1)));
        writeln!(f, "line {line}, column {column}: {}", self.message)?;
        writeln!(f, "{line:>5} | {shown}")?;
        write!(f, "      | {:indent$}{carets}", "", indent = column - 1 - skipped)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits, `_ . - +`, and `{…}` where it continues a word.
    Word(String),
    /// One of ``% @ : , = ( ) { } [ ] * /`` and `->`.
    Punct(&'static str),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Punct(punct) => write!(f, "`{punct}`"),
            Self::End => f.write_str("the end of the text"),
        }
    }
}

const PUNCTUATION: [&str; 14] = ["->", "%", "@", ":", ",", "=", "(", ")", "{", "}", "[", "]", "*", "/"];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')
}

/// Splits `source` into tokens, the last of which is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, Span)>, ParseError> {
    let mut tokens = Vec::new();
    let mut last = Span { line: 1, column: 1, length: 1 };
    for (index, line) in source.lines().enumerate() {
        let mut rest = line;
        let mut column = 1;
        while let Some(c) = rest.chars().next() {
            if c.is_whitespace() {
                column += 1;
                rest = &rest[c.len_utf8()..];
                continue;
            }
            if rest.starts_with("//") {
                break;
            }
            let punct = PUNCTUATION.into_iter().find(|punct| rest.starts_with(punct));
            let bytes = punct.map_or_else(|| word_length(rest), str::len);
            let text = &rest[..bytes];
            let span = Span { line: index + 1, column, length: text.chars().count().max(1) };
            let token = match punct {
                Some(punct) => Token::Punct(punct),
                None if bytes > 0 => Token::Word(text.to_owned()),
                None => return Err(ParseError::new(source, span, format!("unexpected character `{c}`"))),
            };
            tokens.push((token, span));
            last = Span { column: column + span.length, length: 1, ..span };
            column += span.length;
            rest = &rest[bytes..];
        }
    }
    tokens.push((Token::End, last));
    Ok(tokens)
}

/// Bytes of the word that `text` starts with: word characters and `{…}` groups after the first of them.
fn word_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = &text[length..];
        match rest.chars().next() {
            Some('-') if rest.starts_with("->") => return length,
            Some(c) if is_word(c) => length += c.len_utf8(),
            Some('{') if length > 0 => match rest.find('}') {
                Some(end) => length += end + 1,
                None => return length,
            },
            _ => return length,
        }
    }
}
