//! Time by stage: of later pictures, and of the first one beside them.

use super::bars::{Bar, Frame, Group, bars};
use super::drawing::Drawing;
use crate::StageTime;
use crate::evaluation::report::units::Unit;
use crate::evaluation::{Row, RowKind};
use crate::page::ink::{Ink, PARTS};

/// Stages of later pictures, if any was timed.
pub fn later(rows: &[Row]) -> Option<Drawing> {
    let inks = inks(stages(rows));
    let rows: Vec<&Row> = rows.iter().filter(|row| row.median_seconds > 0.0).collect();
    let bar = |row: &Row| vec![bar("a picture takes", &row.stages, row.median_seconds, &inks)];
    let groups = groups(&rows, bar);
    let unit = Unit::of_seconds(rows.iter().map(|row| row.median_seconds));
    let description =
        "Horizontal bars: the median time of a picture of each row, by stage. The table has the sums.";
    draw("Time by stage", description, unit, &groups, &inks)
}

/// The first picture of each row above later ones, if any was timed.
pub fn warm_up(rows: &[Row]) -> Option<Drawing> {
    let inks = inks(stages(rows));
    let rows: Vec<&Row> = rows.iter().filter(|row| row.cold_seconds > 0.0).collect();
    let pair = |row: &Row| {
        let first = bar("the first picture takes", &row.cold_stages, row.cold_seconds, &inks);
        vec![first, bar("later ones take", &row.stages, row.median_seconds, &inks)]
    };
    let groups = groups(&rows, pair);
    let unit = Unit::of_seconds(rows.iter().flat_map(|row| [row.cold_seconds, row.median_seconds]));
    let description = "Two horizontal bars for each row, by stage: the first picture with loading and compilation, and below it \
                       the median of later ones.";
    draw("Cold and warm start", description, unit, &groups, &inks)
}

/// All stages of both plots: a stage has the same ink in both.
fn stages(rows: &[Row]) -> impl Iterator<Item = &StageTime> {
    rows.iter().flat_map(|row| row.cold_stages.iter().chain(&row.stages))
}

fn groups(rows: &[&Row], bars: impl Fn(&Row) -> Vec<Bar>) -> Vec<Group> {
    let group = |row: &&Row| Group {
        name: row.name.clone(),
        is_muted: row.kind == RowKind::FewerSteps,
        bars: bars(row),
    };
    rows.iter().map(group).collect()
}

fn draw(
    title: &str,
    description: &str,
    unit: Unit,
    groups: &[Group],
    inks: &[(String, Ink)],
) -> Option<Drawing> {
    if groups.is_empty() {
        return None;
    }
    let is_drawn = |ink: Ink| {
        let mut parts = groups.iter().flat_map(|group| &group.bars).flat_map(|bar| &bar.parts);
        parts.any(|(other, _, length)| *other == ink && *length > 0.0)
    };
    let own = inks.iter().filter(|(_, ink)| *ink != Ink::Rest && is_drawn(*ink));
    let mut legend: Vec<(Ink, String)> = own.map(|(stage, ink)| (*ink, stage.clone())).collect();
    if is_drawn(Ink::Rest) {
        legend.push((Ink::Rest, "other".into()));
    }
    let mut drawing = bars(&Frame { title, unit, overlap: false, legend }, groups);
    drawing.description = description.to_owned();
    Some(drawing)
}

/// Stages in the order in which they are met. Of more than there are inks, the longest have their own.
fn inks<'s>(stages: impl Iterator<Item = &'s StageTime>) -> Vec<(String, Ink)> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for StageTime { stage, seconds } in stages {
        match sums.iter_mut().find(|(name, _)| name == stage) {
            Some((_, sum)) => *sum += seconds,
            None => sums.push((stage.clone(), *seconds)),
        }
    }
    let mut lengths: Vec<f64> = sums.iter().map(|(_, sum)| *sum).collect();
    lengths.sort_by(|a, b| b.total_cmp(a));
    let shortest = lengths.get(PARTS - 1).copied().unwrap_or(0.0);
    let mut next = 0;
    let ink = |(name, sum): (String, f64)| {
        let is_own = sum > 0.0 && sum >= shortest && next < PARTS;
        let ink = if is_own { Ink::part(next) } else { Ink::Rest };
        next += usize::from(is_own);
        (name, ink)
    };
    sums.into_iter().map(ink).collect()
}

/// `stages` one after another, and what is missing to `seconds`.
fn bar(what: &'static str, stages: &[StageTime], seconds: f64, inks: &[(String, Ink)]) -> Bar {
    let ink = |stage: &str| inks.iter().find(|(name, _)| name == stage).map_or(Ink::Rest, |(_, ink)| *ink);
    let mut parts: Vec<(Ink, String, f64)> = Vec::new();
    // Those without an ink of their own come last.
    for (ink, stage) in stages.iter().map(|stage| (ink(&stage.stage), stage)) {
        parts.push((ink, stage.stage.clone(), stage.seconds));
    }
    parts.sort_by_key(|(ink, ..)| *ink == Ink::Rest);
    let known: f64 = parts.iter().map(|(_, _, length)| length).sum();
    // Medians of stages need not add up to the median of the whole.
    if seconds > known {
        parts.push((Ink::Rest, "other".into(), seconds - known));
    }
    Bar { what, parts, share: 0.86, is_labelled: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stages_have_inks() {
        let stage = |(stage, seconds): (&str, f64)| StageTime { stage: stage.into(), seconds };
        let stages =
            [("a", 1.0), ("b", 0.1), ("c", 2.0), ("d", 3.0), ("e", 4.0), ("f", 5.0), ("g", 6.0), ("a", 1.0)];
        let inks = inks(stages.map(stage).iter());
        let ink = |name: &str| inks.iter().find(|(stage, _)| stage == name).unwrap().1;
        assert_eq!(
            (ink("a"), ink("b"), ink("c"), ink("g")),
            (Ink::Part(0), Ink::Rest, Ink::Part(1), Ink::Part(5))
        );
        let bar = bar("takes", &[stage(("b", 0.1)), stage(("a", 2.0))], 3.0, &inks);
        let lengths: Vec<_> = bar.parts.iter().map(|(ink, _, length)| (*ink, *length)).collect();
        assert_eq!(lengths, [(Ink::Part(0), 2.0), (Ink::Rest, 0.1), (Ink::Rest, 3.0 - 2.1)]);
    }
}
