//! Long output, page by page, where someone reads it on a terminal.

use super::console::{print, print_styled};
use super::highlight::highlighted;
use crate::Error;
use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

/// What shows pages if `PAGER` does not say: with colours, and not at all what fits on the screen.
const USUAL: &str = "less -RFX";

/// Prints IR text: on a terminal in colours (see <https://no-color.org>), and by a pager if it is longer than the screen. `PAGER`
/// names another one than `less`; if it is empty or `cat`, nothing stops.
pub fn show(text: &str) -> Result<(), Error> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return print(text);
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let shown = if is_plain { super::console::escaped(text).into_owned() } else { highlighted(text) };
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
    let Ok(mut pager) = Command::new(program).args(words).stdin(Stdio::piped()).spawn() else { return false };
    if let Some(mut input) = pager.stdin.take() {
        // Whoever has seen enough leaves it before all is written.
        let _ = input.write_all(text.as_bytes());
    }
    pager.wait().is_ok()
}
