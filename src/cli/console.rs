//! Output for people, on standard error, or on standard output if that is a terminal.

use crate::Error;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

/// Prints a line to standard error. Failures are ignored: such lines only comment on a result.
pub fn say(message: impl Display) {
    say_all(format_args!("{message}\n"));
}

/// The same for a text that includes its line ends.
pub fn say_all(text: impl Display) {
    let text = text.to_string();
    let _ = std::io::stderr().lock().write_all(shortened(&escaped(&text)).as_bytes());
}

/// `text` without most of any very long line: messages quote names in files, which may be of any length.
fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 4_000;
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let line = |line: &str| match line.char_indices().nth(LONGEST) {
        Some((at, _)) => {
            let cut = &line[at..];
            format!(
                "{}… ({} more bytes){}",
                &line[..at],
                cut.len(),
                if cut.ends_with('\n') { "\n" } else { "" }
            )
        }
        None => line.to_owned(),
    };
    Cow::Owned(text.split_inclusive('\n').map(line).collect())
}

/// Whether standard output shows colours: it is a terminal, and nobody asked for none (<https://no-color.org>).
pub fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints a result to standard output. It is not an error if the reader stops (`| head`).
pub fn print(text: &str) -> Result<(), Error> {
    if std::io::stdout().is_terminal() {
        print_bytes(escaped(text).as_bytes())
    } else {
        print_bytes(text.as_bytes())
    }
}

/// Prints a text with Reflux's own colours; its parts must be [`escaped`].
pub fn print_styled(text: &str) -> Result<(), Error> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(Error::Stdout),
    }
}

/// `text` with everything escaped that a terminal would interpret: names in files, prompts and paths may contain sequences that
/// recolour, overwrite or reorder the screen.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Whether `c` is a control character other than the end of a line and a tab, or changes the direction of what follows.
fn is_obeyed(c: char) -> bool {
    let is_layout = matches!(c, '\n' | '\t');
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && !is_layout) || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_long_lines_are_cut() {
        let text = "a\n".repeat(3_000);
        assert_eq!(shortened(&text), text);
        let text = format!("a\n{}\nb", "é".repeat(5_000));
        let lines: Vec<String> = shortened(&text).lines().map(str::to_owned).collect();
        assert_eq!(lines, ["a", &format!("{}… (2001 more bytes)", "é".repeat(4_000)), "b"]);
    }

    #[test]
    fn what_terminals_obey_is_written_out() {
        assert!(matches!(escaped("größe 🍎\n\tx"), Cow::Borrowed(_)));
        assert_eq!(escaped("\u{1b}]0;title\u{7}\u{1b}[31m"), r"\u{1b}]0;title\u{7}\u{1b}[31m");
        assert_eq!(
            escaped("over\rwritten \u{9b}2J \u{202e}gnp.exe"),
            r"over\rwritten \u{9b}2J \u{202e}gnp.exe"
        );
    }
}
