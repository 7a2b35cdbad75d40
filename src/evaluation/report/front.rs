//! Which rows are worth it: the Pareto front of quality and time, and what the plain model with fewer steps gives.

use crate::evaluation::{Row, RowKind};

/// The PSNR of equal pictures, in dB.
pub const EQUAL: f64 = 100.0;

/// From here on, differences are hard to see at a glance, in dB.
pub const CLOSE: f64 = 30.0;

/// A row as a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its place among the rows.
    pub row: usize,
    /// The median a picture.
    pub seconds: f64,
    /// The median in dB, [`EQUAL`] for the base.
    pub psnr: f64,
}

/// Those of `rows` whose time and quality are known.
pub fn points(rows: &[Row]) -> Vec<Point> {
    let point = |(row, of): (usize, &Row)| {
        let psnr = match of.kind {
            RowKind::Base => EQUAL,
            _ => of.quality?.psnr.median.min(EQUAL),
        };
        (of.median_seconds > 0.0).then_some(Point { row, seconds: of.median_seconds, psnr })
    };
    rows.iter().enumerate().filter_map(point).collect()
}

/// Those of `points` that no other beats: none is as fast and as near and better in one of both. From fast to slow.
pub fn front(points: &[Point]) -> Vec<Point> {
    let beats = |a: &Point, b: &Point| {
        a.seconds <= b.seconds && a.psnr >= b.psnr && (a.seconds < b.seconds || a.psnr > b.psnr)
    };
    let unbeaten = points.iter().filter(|point| !points.iter().any(|other| beats(other, point)));
    let mut front: Vec<Point> = unbeaten.copied().collect();
    front.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(a.row.cmp(&b.row)));
    front
}

/// The plain model with fewer steps around a time: the slowest that takes at most `seconds`, and the fastest that takes more.
pub fn yardsticks(rows: &[Row], points: &[Point], seconds: f64) -> [Option<Point>; 2] {
    let fewer = || points.iter().filter(|point| rows[point.row].kind == RowKind::FewerSteps);
    let by_time = |a: &&Point, b: &&Point| a.seconds.total_cmp(&b.seconds);
    let below = fewer().filter(|point| point.seconds <= seconds).max_by(by_time);
    let above = fewer().filter(|point| point.seconds > seconds).min_by(by_time);
    [below.copied(), above.copied()]
}

/// By how many dB `point` is nearer to the base than the plain model with fewer steps in the same time: on a line between its
/// neighbours, or than the only neighbour if its time is near.
fn lead(rows: &[Row], points: &[Point], point: &Point) -> Option<f64> {
    let plain = match yardsticks(rows, points, point.seconds) {
        [Some(below), Some(above)] => {
            let share = (point.seconds - below.seconds) / (above.seconds - below.seconds);
            below.psnr + share * (above.psnr - below.psnr)
        }
        [Some(only), None] | [None, Some(only)] => {
            (0.8..=1.25).contains(&(only.seconds / point.seconds)).then_some(only.psnr)?
        }
        [None, None] => return None,
    };
    Some(point.psnr - plain)
}

/// The best trade-off: of the configurations on the front that are faster than the base, the fastest that stays [`CLOSE`]; if
/// none does, the one that leads by most over the plain model with fewer steps in its time; else the nearest.
pub fn best(rows: &[Row], points: &[Point]) -> Option<Point> {
    let base = points.iter().find(|point| rows[point.row].kind == RowKind::Base)?;
    let front = front(points);
    let is_candidate =
        |point: &&Point| rows[point.row].kind == RowKind::Config && point.seconds < base.seconds;
    let candidates = || front.iter().filter(is_candidate);
    let close = candidates().find(|point| point.psnr >= CLOSE);
    let leading = || {
        let leads = candidates().filter_map(|point| Some((point, lead(rows, points, point)?)));
        leads.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(point, _)| point)
    };
    let nearest = || candidates().max_by(|a, b| a.psnr.total_cmp(&b.psnr));
    close.or_else(leading).or_else(nearest).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(row: usize, seconds: f64, psnr: f64) -> Point {
        Point { row, seconds, psnr }
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let points = [
            point(0, 4.0, EQUAL),
            // Slower than the next, and further.
            point(1, 2.0, 20.0),
            point(2, 1.9, 25.0),
            point(3, 1.0, 18.0),
            // As fast as the one before, but further.
            point(4, 1.0, 17.0),
            // Equal to one on the front.
            point(5, 1.9, 25.0),
            // The fastest, and the worst.
            point(6, 0.5, 9.0),
            // Slower than the base and equal to it.
            point(7, 5.0, EQUAL),
        ];
        let rows: Vec<usize> = front(&points).iter().map(|point| point.row).collect();
        assert_eq!(rows, [6, 3, 2, 5, 0]);
        assert_eq!(front(&[]), []);
    }
}
