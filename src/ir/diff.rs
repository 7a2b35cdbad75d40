//! Differences between two programs, value by value.

mod changes;
mod layout;
mod moves;
mod rows;

use crate::text::{Part, PrintOptions, Printed, Section};
use crate::{Graph, Name, Program, Stage};
use changes::moved;
use moves::Whereabouts;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

pub use changes::{ValueChange, value_changes};
pub use layout::{DiffLayout, DiffOptions};
pub use rows::DiffRow;

/// The text of two programs, side by side: lines about the same value of the same stage form one row.
///
/// The printed text is compared, with repeated blocks once. So a line may differ only because a value that it reads has left
/// its block; [`ProgramDiff::counts`] does not count that.
///
/// ```
/// let read = |attribute: &str| reflux_ir::text::parse(&format!(
///     "program p {{ input %x : f32[2,4] latent variant main (%x) -> (%y) {{
///        %y = layer_norm %x {{eps={attribute}}} : f32[2,4] return %y }} schedule main }}"));
/// let (a, b) = (read("1e-6")?, read("1e-5")?);
/// let diff = reflux_ir::ProgramDiff::new(["a", "b"], [&a, &b]);
/// assert!(diff.to_string().contains("
/// -    %y = layer_norm %x {eps=1e-6} : f32[2,4]
/// +    %y = layer_norm %x {eps=1e-5} : f32[2,4]
/// "));
/// # Ok::<(), reflux_ir::text::ParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProgramDiff {
    names: [String; 2],
    rows: Vec<Row>,
    counts: Vec<(Stage, ValueCounts)>,
}

/// How many values of a stage differ. Those of repeated blocks count once per iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueCounts {
    /// Only the second program has a value of this name.
    pub added: usize,
    /// Only the first has.
    pub removed: usize,
    /// Both have, but with another op, attribute, operand, type or module.
    pub changed: usize,
    /// The second program computes it here, the first in another stage.
    pub moved_in: usize,
    /// The first program computes it here, the second in another stage.
    pub moved_out: usize,
}

/// A line of one program, or a line of each about the same value.
#[derive(Clone, Debug)]
enum Row {
    Same(Printed),
    Changed(Printed, Printed),
    Removed(Printed),
    Added(Printed),
    /// A line of the first program, which the second has there.
    Left(Printed, Whereabouts),
    /// That line, and the second program's, here.
    Came {
        before: Printed,
        after: Printed,
        was: Whereabouts,
    },
}

impl ProgramDiff {
    /// Compares `programs`; `names` are for the printed diff.
    pub fn new(names: [&str; 2], programs: [&Program; 2]) -> Self {
        let [a, b] = programs.map(|program| program.sections(&PrintOptions::default()));
        let (mut rows, mut counts) = (Vec::new(), Vec::new());
        let moved = moved(programs);
        let part = |section: &Section| section.part.clone();
        for pair in align(&a, &b, part) {
            let of = pair[0].or(pair[1]).expect("a pair has one at least").part.clone();
            let [a, b] = pair.map(|section| section.map_or(&[][..], |section| &section.lines));
            let pairs = align(a, b, |line| line.about.clone()).into_iter();
            rows.extend(pairs.map(|pair| (of.clone(), Row::of(pair))));
            if let [Some(Section { part: Part::Stage(stage), .. }), _]
            | [_, Some(Section { part: Part::Stage(stage), .. })] = pair
            {
                let graphs = programs.map(|program| program.graph(stage));
                counts.push((stage.clone(), ValueCounts::of(graphs, &moved)));
            }
        }
        counts.retain(|(_, counts)| *counts != ValueCounts::default());
        moves::find(&mut rows);
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Self { names: names.map(str::to_owned), rows, counts }
    }

    /// Whether the programs print the same.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| matches!(row, Row::Same(_)))
    }

    /// How many values differ in each stage, in the order in which stages run; stages without any are left out.
    pub fn counts(&self) -> impl Iterator<Item = (&Stage, ValueCounts)> {
        self.counts.iter().map(|(stage, counts)| (stage, *counts))
    }

    /// The lines of both programs, as [`Program::print`] has them, row by row.
    pub fn rows(&self) -> Vec<DiffRow> {
        rows::of(&self.rows)
    }

    /// The diff as text.
    pub fn display(&self, options: DiffOptions) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| layout::write(self, options, f))
    }
}

impl fmt::Display for ProgramDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        layout::write(self, DiffOptions::default(), f)
    }
}

impl Row {
    /// The row of a line of the first program, of the second, or of both.
    fn of(pair: [Option<&Printed>; 2]) -> Self {
        match pair.map(Option::<&Printed>::cloned) {
            [Some(a), Some(b)] if a.text == b.text => Self::Same(a),
            [Some(a), Some(b)] => Self::Changed(a, b),
            [Some(a), None] => Self::Removed(a),
            [None, b] => Self::Added(b.expect("a pair has one at least")),
        }
    }
}

impl ValueCounts {
    /// Of a stage as both programs have it; one may not. `moved` are the values that change stages.
    fn of(graphs: [Option<&Graph>; 2], moved: &HashSet<Name>) -> Self {
        let changes = changes::of_stage(graphs, moved);
        let count = |wanted| changes.values().filter(|&&change| change == wanted).count();
        Self {
            added: count(ValueChange::Added),
            removed: count(ValueChange::Removed),
            changed: count(ValueChange::Changed),
            moved_in: count(ValueChange::MovedIn),
            moved_out: count(ValueChange::MovedOut),
        }
    }
}

/// The items of `a` and `b` in order: paired if their keys are equal, else single.
fn align<'t, T, K: Hash + Ord>(a: &'t [T], b: &'t [T], key: impl Fn(&T) -> K) -> Vec<[Option<&'t T>; 2]> {
    let [a_keys, b_keys] = [a, b].map(|items| items.iter().map(&key).collect::<Vec<_>>());
    let mut pairs = Vec::with_capacity(a.len().max(b.len()));
    for op in capture_diff_slices(Algorithm::Patience, &a_keys, &b_keys) {
        let (a, b) = (&a[op.old_range()], &b[op.new_range()]);
        match op {
            DiffOp::Equal { .. } => pairs.extend(a.iter().zip(b).map(|(a, b)| [Some(a), Some(b)])),
            _ => {
                pairs.extend(a.iter().map(|a| [Some(a), None]));
                pairs.extend(b.iter().map(|b| [None, Some(b)]));
            }
        }
    }
    pairs
}
