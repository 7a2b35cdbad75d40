//! The lexer, and errors that point into the text.

use crate::words;
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
        Self { message: words::shortened(message.into()), span, source_line }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { line, column, length } = self.span;
        // Of a very long line, only a window is shown.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// Letters, digits, `_ . - +`, and `{…}` where it continues a word.
    Word(&'s str),
    /// One of ``% @ : , = ( ) { } [ ] * /`` and `->`.
    Punct(&'static str),
    /// A character that nothing is written with.
    Unexpected(char),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Punct(punct) => write!(f, "`{punct}`"),
            Self::Unexpected(c) => write!(f, "the character `{c}`"),
            Self::End => f.write_str("the end of the text"),
        }
    }
}

const PUNCTUATION: [&str; 14] = ["->", "%", "@", ":", ",", "=", "(", ")", "{", "}", "[", "]", "*", "/"];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')
}

/// The tokens of a text, produced on demand, so that those of a long text are not all in memory.
pub(super) struct Lexer<'s> {
    lines: std::str::Lines<'s>,
    /// What is left of the line.
    rest: &'s str,
    line: usize,
    column: usize,
    /// Where the text ends, as far as it has been read.
    end: Span,
}

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Self {
        let end = Span { line: 1, column: 1, length: 1 };
        Self { lines: source.lines(), rest: "", line: 0, column: 1, end }
    }

    /// The next token; after the last one, always [`Token::End`].
    pub fn next(&mut self) -> (Token<'s>, Span) {
        loop {
            let trimmed = self.rest.trim_start();
            self.column += self.rest[..self.rest.len() - trimmed.len()].chars().count();
            self.rest = trimmed;
            if !self.rest.is_empty() && !self.rest.starts_with("//") {
                return self.token();
            }
            let Some(line) = self.lines.next() else { return (Token::End, self.end) };
            (self.rest, self.line, self.column) = (line, self.line + 1, 1);
        }
    }

    /// The token that the rest of the line starts with.
    fn token(&mut self) -> (Token<'s>, Span) {
        let rest = self.rest;
        let first = rest.chars().next().expect("there is something left");
        let punct = PUNCTUATION.into_iter().find(|punct| rest.starts_with(punct));
        let (token, bytes) = match (punct, word_length(rest)) {
            (Some(punct), _) => (Token::Punct(punct), punct.len()),
            (None, 0) => (Token::Unexpected(first), first.len_utf8()),
            (None, bytes) => (Token::Word(&rest[..bytes]), bytes),
        };
        let span =
            Span { line: self.line, column: self.column, length: rest[..bytes].chars().count().max(1) };
        self.column += span.length;
        self.end = Span { column: self.column, length: 1, ..span };
        self.rest = &rest[bytes..];
        (token, span)
    }
}

/// Bytes of the word that `text` starts with: word characters and `{…}` groups after the first of them.
fn word_length(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = &text[length..];
        match rest.chars().next() {
            Some('-') if rest.starts_with("->") => return length,
            Some(c) if is_word(c) => length += c.len_utf8(),
            // A group holds no other, so that no part of a text is looked through again and again.
            Some('{') if length > 0 => match rest[1..].find(['{', '}']) {
                Some(end) if rest[1 + end..].starts_with('}') => length += end + 2,
                _ => return length,
            },
            _ => return length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let mut lexer = Lexer::new(text);
        let tokens = std::iter::from_fn(|| Some(lexer.next().0).filter(|token| *token != Token::End));
        tokens.map(|token| token.to_string()).collect()
    }

    #[test]
    fn groups_continue_words_and_hold_no_others() {
        assert_eq!(tokens("a.{i+1}.b {x}"), ["`a.{i+1}.b`", "`{`", "`x`", "`}`"]);
        assert_eq!(tokens("a{b{i}c"), ["`a`", "`{`", "`b{i}c`"]);
        assert_eq!(tokens("a->b // c\n\t-1;"), ["`a`", "`->`", "`b`", "`-1`", "the character `;`"]);
    }

    #[test]
    fn every_token_has_its_place() {
        let mut lexer = Lexer::new("é  %x\n\n y");
        let place = |(_, span): (Token, Span)| (span.line, span.column, span.length);
        let places: Vec<_> = (0..5).map(|_| place(lexer.next())).collect();
        assert_eq!(places, [(1, 1, 1), (1, 4, 1), (1, 5, 1), (3, 2, 1), (3, 3, 1)]);
    }

    /// Braces that nothing closes were once looked for to the end of the line, from each of them.
    #[test]
    fn braces_that_stay_open_take_no_longer_than_others() {
        assert_eq!(tokens(&"a{".repeat(500_000)).len(), 1_000_000);
    }
}
