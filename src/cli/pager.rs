//! Long output, page by page, where someone reads it on a terminal.

use super::console::{escaped, has_colours, print, print_styled};
use super::highlight::highlighted;
use crate::Error;
use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

/// What shows pages if `PAGER` does not say.
const USUAL: &str = "less";

/// How `less` does, if `LESS` does not say: with colours, and not at all what fits on the screen.
const LESS: &str = "FRX";

/// Prints IR text: on a terminal in colours, and by a pager if it is longer than the screen. `PAGER`
/// names another one than `less`; if it is empty or `cat`, nothing stops.
pub fn show(text: &str) -> Result<(), Error> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return print(text);
    }
    let shown = if has_colours() { highlighted(text) } else { escaped(text).into_owned() };
    let rows = terminal_size::terminal_size_of(&out).map_or(usize::MAX, |(_, rows)| rows.0.into());
    match text.lines().count() >= rows && page(&shown) {
        true => Ok(()),
        false => print_styled(&shown),
    }
}

/// Shows `text` by the pager; whether there is one.
fn page(text: &str) -> bool {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| USUAL.to_owned());
    let mut words = pager.split_whitespace();
    let Some(program) = words.next().filter(|program| *program != "cat") else { return false };
    let mut command = Command::new(program);
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    let Ok(mut pager) = command.args(words).stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut input) = pager.stdin.take() {
        // Whoever has seen enough leaves it before all is written.
        let _ = input.write_all(text.as_bytes());
    }
    pager.wait().is_ok_and(|status| status.success())
}
