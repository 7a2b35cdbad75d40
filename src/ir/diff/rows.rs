//! Diffs as data: which line of one program stands beside which of the other.

use super::Row;
use crate::text::Topic;
use std::collections::HashMap;

/// A row of a diff: a line of the first program, of the second, or of both, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiffRow {
    Same(usize, usize),
    Changed(usize, usize),
    Removed(usize),
    Added(usize),
    /// A line of the first program, about a value that the second has elsewhere: `variant full`, `above`.
    Left(usize, String),
    /// The first program's line about a value, and the second's, here, and where the first has it.
    Came(usize, usize, String),
}

pub(super) fn of(rows: &[Row]) -> Vec<DiffRow> {
    let left = lines_that_left(rows);
    let (mut first, mut second) = (0.., 0..);
    let mut a = || first.next().expect("there is always one more");
    let mut b = || second.next().expect("there is always one more");
    let row = |row: &Row| match row {
        Row::Same(_) => DiffRow::Same(a(), b()),
        Row::Changed(..) => DiffRow::Changed(a(), b()),
        Row::Removed(_) => DiffRow::Removed(a()),
        Row::Added(_) => DiffRow::Added(b()),
        Row::Left(_, went) => DiffRow::Left(a(), went.to_string()),
        Row::Came { before, was, .. } => DiffRow::Came(left[&before.about], b(), was.to_string()),
    };
    rows.iter().map(row).collect()
}

/// Where in the first program the lines are whose values the second has elsewhere.
fn lines_that_left(rows: &[Row]) -> HashMap<&Topic, usize> {
    let of_first = rows.iter().filter(|row| !matches!(row, Row::Added(_) | Row::Came { .. }));
    let left = of_first.enumerate().filter_map(|(at, row)| match row {
        Row::Left(line, _) => Some((&line.about, at)),
        _ => None,
    });
    left.collect()
}
