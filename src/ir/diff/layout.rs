//! Diffs as text, in one or two columns.

use super::moves::reads_the_same;
use super::{ProgramDiff, Row, ValueCounts};
use crate::pass::counted;
use crate::text::{Printed, Topic};
use anstyle::{AnsiColor, Style};
use std::fmt::{self, Formatter};

/// How to print a [`ProgramDiff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    pub layout: DiffLayout,
    /// Equal lines to keep before and after those that differ; besides them, the line that begins the stage or the block
    /// of what differs is always kept.
    pub context: usize,
    /// Whether to colour the lines, for terminals.
    pub colour: bool,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self { layout: DiffLayout::Unified, context: 2, colour: false }
    }
}

/// How two programs share a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffLayout {
    /// Lines of the first behind `-`, below them those of the second behind `+`; `~` marks a value that is in another place.
    Unified,
    /// Show the programs in two columns, which together are this many characters wide. Between them is `|` where a line
    /// changed, `<` where only the first program has it, `>` where only the second has, and `~` where a value has moved.
    SideBySide { width: usize },
}

/// What is between two columns.
const GAP: usize = " | ".len();
/// Columns are not narrower than this.
const NARROWEST: usize = 20;

pub(super) fn write(diff: &ProgramDiff, options: DiffOptions, f: &mut Formatter<'_>) -> fmt::Result {
    let [a, b] = &diff.names;
    if diff.is_empty() {
        return writeln!(f, "{a} and {b} are the same program");
    }
    let page = Page { options };
    page.write_line(f, REMOVED, &format!("--- {a}"))?;
    page.write_line(f, ADDED, &format!("+++ {b}"))?;
    for (stage, counts) in diff.counts() {
        writeln!(f, "    {stage}: {counts}")?;
    }
    writeln!(f)?;
    for stretch in stretches(&diff.rows, options.context) {
        match stretch {
            Passage::Shown(row) => page.write_row(f, row)?,
            Passage::Elided(count) => {
                page.write_line(f, ELIDED, &format!("     … {}", counted(count, "equal line")))?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for ValueCounts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.added, "added"),
            (self.removed, "removed"),
            (self.changed, "changed"),
            (self.moved_in, "moved here from another stage"),
            (self.moved_out, "moved to another stage"),
        ];
        let mut there = counts.into_iter().filter(|(count, _)| *count > 0);
        let Some((count, verb)) = there.next() else { return f.write_str("no values differ") };
        write!(f, "{} {verb}", counted(count, "value"))?;
        there.try_for_each(|(count, verb)| write!(f, ", {count} {verb}"))
    }
}

enum Passage<'r> {
    Shown(&'r Row),
    Elided(usize),
}

/// The rows to show, and how many are left out between them.
fn stretches(rows: &[Row], context: usize) -> Vec<Passage<'_>> {
    let shown = shown(rows, context);
    let mut stretches = Vec::new();
    let places: Vec<usize> = (0..rows.len()).collect();
    for run in places.chunk_by(|&a, &b| shown[a] == shown[b]) {
        // Replacing a single line by a note would save nothing.
        if shown[run[0]] || run.len() == 1 {
            stretches.extend(run.iter().map(|&place| Passage::Shown(&rows[place])));
        } else {
            stretches.push(Passage::Elided(run.len()));
        }
    }
    stretches
}

/// Whether to show each row: those that differ, their neighbours, and what begins the stage and the block around them.
fn shown(rows: &[Row], context: usize) -> Vec<bool> {
    let mut shown = vec![false; rows.len()];
    let (mut stage, mut block) = (None, None);
    for (place, row) in rows.iter().enumerate() {
        if !matches!(row, Row::Same(_)) {
            let around = place.saturating_sub(context)..rows.len().min(place + context + 1);
            around.chain(stage).chain(block).for_each(|place| shown[place] = true);
        }
        match row.about() {
            Topic::Signature => stage = Some(place),
            Topic::Repeat(_) => block = Some(place),
            Topic::End => stage = None,
            Topic::RepeatEnd(_) => block = None,
            _ => {}
        }
    }
    shown
}

impl Row {
    fn about(&self) -> &Topic {
        let (Self::Same(line)
        | Self::Changed(line, _)
        | Self::Removed(line)
        | Self::Added(line)
        | Self::Left(line, _)
        | Self::Came { after: line, .. }) = self;
        &line.about
    }
}

impl Row {
    /// What stands where a value was that is elsewhere now.
    fn left(&self) -> Printed {
        let Self::Left(line, went) = self else { unreachable!("asked of what left") };
        self.note(line, |name| format!("{name} moved to {went}"))
    }

    /// What stands in front of a value that was elsewhere; all that is to be said of one that is the same.
    fn came(&self) -> Printed {
        let Self::Came { before, after, was } = self else { unreachable!("asked of what came") };
        match reads_the_same(before, after) {
            true => {
                Printed { about: after.about.clone(), text: format!("{}  // moved from {was}", after.text) }
            }
            false => self.note(after, |name| format!("{name} moved from {was}")),
        }
    }

    /// A line that says something about the value of `line`, as far indented as it.
    fn note(&self, line: &Printed, text: impl Fn(&str) -> String) -> Printed {
        let trimmed = line.text.trim_start();
        let name = trimmed.split(' ').next().unwrap_or_default();
        let indent = line.text.len() - trimmed.len();
        Printed { about: line.about.clone(), text: format!("{:indent$}// {}", "", text(name)) }
    }
}

const SAME: Style = Style::new();
const REMOVED: Style = AnsiColor::Red.on_default();
const ADDED: Style = AnsiColor::Green.on_default();
const MOVED: Style = AnsiColor::Blue.on_default();
const ELIDED: Style = AnsiColor::BrightBlack.on_default();

struct Page {
    options: DiffOptions,
}

impl Page {
    fn write_row(&self, f: &mut Formatter<'_>, row: &Row) -> fmt::Result {
        match self.options.layout {
            DiffLayout::Unified => self.write_unified(f, row),
            DiffLayout::SideBySide { width } => {
                self.write_beside(f, row, (width.saturating_sub(GAP) / 2).max(NARROWEST))
            }
        }
    }

    fn write_unified(&self, f: &mut Formatter<'_>, row: &Row) -> fmt::Result {
        let mut write =
            |sign, style, Printed { text, .. }: &Printed| self.write_line(f, style, &format!("{sign}{text}"));
        match row {
            Row::Same(line) => write(' ', SAME, line),
            Row::Removed(line) => write('-', REMOVED, line),
            Row::Added(line) => write('+', ADDED, line),
            Row::Changed(a, b) => write('-', REMOVED, a).and_then(|()| write('+', ADDED, b)),
            Row::Left(..) => write('~', MOVED, &row.left()),
            Row::Came { before, after, .. } if reads_the_same(before, after) => {
                write('~', MOVED, &row.came())
            }
            Row::Came { before, after, .. } => {
                write('~', MOVED, &row.came())?;
                let indent = after.text.len() - after.text.trim_start().len();
                let text = format!("{:indent$}{}", "", before.text.trim_start());
                write('-', REMOVED, &Printed { about: before.about.clone(), text })?;
                write('+', ADDED, after)
            }
        }
    }

    /// Writes the row in two columns of `width` characters, lines that are longer on several.
    fn write_beside(&self, f: &mut Formatter<'_>, row: &Row, width: usize) -> fmt::Result {
        let note = match row {
            Row::Left(..) => Some(row.left()),
            Row::Came { .. } => Some(row.came()),
            _ => None,
        };
        let note = note.as_ref();
        let (a, sign, b) = match row {
            Row::Same(line) => (Some((SAME, line)), ' ', Some((SAME, line))),
            Row::Removed(line) => (Some((REMOVED, line)), '<', None),
            Row::Added(line) => (None, '>', Some((ADDED, line))),
            Row::Changed(a, b) => (Some((REMOVED, a)), '|', Some((ADDED, b))),
            Row::Left(line, _) => (Some((MOVED, line)), '~', note.map(|note| (MOVED, note))),
            Row::Came { after, .. } => (note.map(|note| (MOVED, note)), '~', Some((MOVED, after))),
        };
        let folded = |cell: Option<(Style, &Printed)>| {
            cell.map(|(style, line)| (style, fold(&line.text, width))).unwrap_or_default()
        };
        let ((a_style, a), (b_style, b)) = (folded(a), folded(b));
        for at in 0..a.len().max(b.len()) {
            let [a, b] = [&a, &b].map(|lines| lines.get(at).map_or("", String::as_str));
            let padding = " ".repeat(width - a.chars().count());
            let (a, b) = (self.painted(a_style, a), self.painted(b_style, b));
            let line = format!("{a}{padding} {sign} {b}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn write_line(&self, f: &mut Formatter<'_>, style: Style, text: &str) -> fmt::Result {
        writeln!(f, "{}", self.painted(style, text))
    }

    fn painted(&self, style: Style, text: &str) -> String {
        if self.options.colour && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The text on lines of at most `width` characters, broken at spaces where there are any; all lines but the first stand
/// further to the right.
fn fold(text: &str, width: usize) -> Vec<String> {
    let indent = text.chars().take_while(|&c| c == ' ').count() + 4;
    // Deep indents leave nothing to write on.
    let indent = " ".repeat(indent.min(width / 2));
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        // Not at the spaces of the indent.
        let space = rest[..=width].iter().rposition(|&c| c == ' ').filter(|&place| place > indent.len());
        let line: String = rest.drain(..space.unwrap_or(width)).collect();
        lines.push(line);
        let next = rest.iter().skip_while(|&&c| c == ' ');
        rest = indent.chars().chain(next.copied()).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn lines_fold_at_spaces_or_where_they_must() {
        assert_eq!(fold("", 8), [""]);
        assert_eq!(fold("  %a = b", 8), ["  %a = b"]);
        assert_eq!(fold("  %a = silu %b : f32[2]", 16), ["  %a = silu %b :", "      f32[2]"]);
        assert_eq!(fold("  %a = silu %b : f32[2]", 15), ["  %a = silu %b", "      : f32[2]"]);
        assert_eq!(
            fold("  %a_name_of_twenty_characters", 16),
            ["  %a_name_of_twe", "      nty_charac", "      ters"]
        );
    }
}
