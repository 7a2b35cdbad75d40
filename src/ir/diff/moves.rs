//! Moved values: computed in another stage, or elsewhere in their own.

use super::Row;
use crate::text::{Part, Printed, Topic};
use std::collections::HashMap;
use std::fmt;

/// Where a value went, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Higher up in its stage.
    Above,
    /// Further down in its stage.
    Below,
    Other(Part),
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above => f.write_str("above"),
            Self::Below => f.write_str("below"),
            Self::Other(Part::Stage(stage)) => stage.fmt(f),
            Self::Other(Part::Declarations) => f.write_str("the declarations"),
            Self::Other(Part::Schedule) => f.write_str("the schedule"),
        }
    }
}

/// Makes of each value that one program has in one place, and the other in another, a move instead of a removal and an
/// addition. A name that is removed or added several times is left alone: which went where would be a guess.
pub(super) fn find(rows: &mut [(Part, Row)]) {
    let mut removed: HashMap<Topic, Vec<usize>> = HashMap::new();
    let mut added: HashMap<Topic, Vec<usize>> = HashMap::new();
    for (at, (_, row)) in rows.iter().enumerate() {
        let (list, line) = match row {
            Row::Removed(line) => (&mut removed, line),
            Row::Added(line) => (&mut added, line),
            _ => continue,
        };
        if let Topic::Value(_) = line.about {
            list.entry(line.about.clone()).or_default().push(at);
        }
    }
    for (about, from) in removed {
        let (&[from], Some(&[to])) = (&from[..], added.get(&about).map(Vec::as_slice)) else { continue };
        let place = |other: usize, own: usize| match rows[other].0 == rows[own].0 {
            true if other < own => Whereabouts::Above,
            true => Whereabouts::Below,
            false => Whereabouts::Other(rows[other].0.clone()),
        };
        let (went, was) = (place(to, from), place(from, to));
        let (Row::Removed(before), Row::Added(after)) = (rows[from].1.clone(), rows[to].1.clone()) else {
            continue;
        };
        rows[from].1 = Row::Left(before.clone(), went);
        rows[to].1 = Row::Came { before, after, was };
    }
}

/// Whether the lines say the same, but for how far they are indented.
pub(super) fn reads_the_same(a: &Printed, b: &Printed) -> bool {
    a.text.trim_start() == b.text.trim_start()
}
