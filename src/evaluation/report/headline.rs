//! What a run has found, in one or two sentences.

use super::front::{self, CLOSE, EQUAL, Point};
use super::run::Run;
use super::units::Unit;
use crate::evaluation::{Row, RowKind};
use reflux_ir::pass::counted;
use std::fmt;

/// A sentence around the name of what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    pub before: String,
    pub name: Option<String>,
    pub after: String,
}

impl Headline {
    /// Of `run`: its best trade-off, as [`front::best`] finds it, beside the plain model with fewer steps.
    pub fn of(run: &Run) -> Self {
        let rows = &run.evaluation.rows;
        let points = front::points(rows);
        match front::best(rows, &points) {
            Some(best) => found(rows, &points, best),
            None => Self { before: nothing(rows, &points), name: None, after: String::new() },
        }
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, name, after } = self;
        let name = name.as_ref().map(|name| format!("`{name}`")).unwrap_or_default();
        write!(f, "{before}{name}{after}")
    }
}

fn found(rows: &[Row], points: &[Point], best: Point) -> Headline {
    let (base, row) = (&rows[0], &rows[best.row]);
    let before = if best.psnr < CLOSE {
        format!("Nothing that is faster reaches {CLOSE} dB; the best trade-off is ")
    } else {
        "The best trade-off is ".to_owned()
    };
    // All in one unit, which makes them easy to compare.
    let time = Unit::of_seconds([best.seconds, base.median_seconds]);
    let ratio = base.median_seconds / best.seconds;
    let [own, plain] = [best.seconds, base.median_seconds].map(|seconds| time.text(seconds));
    let mut after = format!(": a picture in {own} instead of {plain}, {ratio:.1} times as fast, ");
    after += &match row.quality {
        Some(quality) if quality.psnr.worst >= EQUAL => {
            "and every picture is the base's, bit for bit.".to_owned()
        }
        Some(quality) => {
            let (median, worst) = (quality.psnr.median, quality.psnr.worst);
            format!(
                "with a PSNR of {median:.1} dB to the base's pictures (the median; the worst has {worst:.1} dB)."
            )
        }
        None => unreachable!("a point of a configuration has a quality"),
    };
    let plain = front::yardsticks(rows, points, best.seconds).into_iter().flatten().map(|plain| {
        let steps = counted(rows[plain.row].steps, "step");
        format!("{:.1} dB in {} ({steps})", plain.psnr, time.text(plain.seconds))
    });
    let plain: Vec<String> = plain.collect();
    if !plain.is_empty() {
        after += &format!(" With fewer steps, the plain model reaches {}.", plain.join(" and "));
    }
    if (row.weight_bytes as f64) < 0.95 * base.weight_bytes as f64 {
        let sizes = [row.weight_bytes, base.weight_bytes].map(|bytes| bytes as f64);
        let unit = Unit::of_bytes(sizes);
        let [own, plain] = sizes.map(|size| unit.text(size));
        after += &format!(" Its weights take {own} instead of {plain}.");
    }
    Headline { before, name: Some(row.name.clone()), after }
}

/// Why nothing was found.
fn nothing(rows: &[Row], points: &[Point]) -> String {
    let configs = || points.iter().filter(|point| rows[point.row].kind == RowKind::Config);
    let base = points.iter().find(|point| rows[point.row].kind == RowKind::Base);
    let why = match base {
        _ if rows.len() == 1 => "Only the base was evaluated: there is nothing to compare it with yet.",
        None => "The base was not timed: which rows are faster cannot be told.",
        Some(_) if configs().next().is_none() => {
            "No configuration was compared with the base in time and quality."
        }
        Some(base) if configs().all(|point| point.seconds >= base.seconds) => {
            "No configuration is faster than the base here."
        }
        Some(_) => {
            "No configuration is worth it here: for each, the plain model with fewer steps is as fast and nearer to the base."
        }
    };
    why.to_owned()
}
