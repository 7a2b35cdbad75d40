//! Quality against time: every row as a point, the Pareto front, and the plain model with fewer steps.

use super::axis::{Axis, decimals};
use super::bars::WIDTH;
use super::drawing::{Anchor, Drawing, Mark, TEXT};
use super::render::{fitted, width};
use crate::evaluation::report::front::{self, EQUAL, Point};
use crate::evaluation::report::units::{Unit, seconds};
use crate::evaluation::{Row, RowKind};
use crate::page::ink::Ink;
use reflux_ir::pass::counted;

const HEIGHT: f64 = 470.0;

const DOT: f64 = 5.0;

/// The plot, if two rows have a time and a quality.
pub fn quality(rows: &[Row]) -> Option<Drawing> {
    let points = front::points(rows);
    if points.len() < 2 {
        return None;
    }
    let plot = Plot::of(rows, points);
    let mut drawing = Drawing::new(WIDTH, HEIGHT, "Quality against time");
    plot.axes(&mut drawing);
    plot.fewer_steps(&mut drawing);
    plot.front(&mut drawing);
    plot.dots(&mut drawing);
    plot.legend(&mut drawing);
    drawing.description = plot.description();
    Some(drawing)
}

struct Plot<'r> {
    rows: &'r [Row],
    points: Vec<Point>,
    front: Vec<Point>,
    unit: Unit,
    x: Axis,
    y: Axis,
    /// Where equal pictures are, above all that differ.
    equal: f64,
}

impl<'r> Plot<'r> {
    fn of(rows: &'r [Row], points: Vec<Point>) -> Self {
        let differing = || points.iter().map(|point| point.psnr).filter(|psnr| *psnr < EQUAL);
        let (low, high) =
            differing().fold((f64::INFINITY, 0.0_f64), |(low, high), psnr| (low.min(psnr), high.max(psnr)));
        let (low, high) = if low.is_finite() { (low, high) } else { (20.0, 40.0) };
        let room = (0.12 * (high - low)).max(1.0);
        let longest = points.iter().map(|point| point.seconds).fold(0.0, f64::max);
        let unit = Unit::of_seconds([longest]);
        Self {
            rows,
            unit,
            x: Axis { from: 0.0, to: 1.08 * longest / unit.size, pixels: [52.0, WIDTH - 16.0] },
            y: Axis { from: (low - room).max(0.0), to: high + room, pixels: [HEIGHT - 48.0, 84.0] },
            equal: 58.0,
            front: front::front(&points),
            points,
        }
    }

    fn at(&self, point: &Point) -> [f64; 2] {
        let y = if point.psnr >= EQUAL { self.equal } else { self.y.at(point.psnr) };
        [self.x.at(point.seconds / self.unit.size), y]
    }

    fn kind(&self, point: &Point) -> RowKind {
        self.rows[point.row].kind
    }

    fn axes(&self, drawing: &mut Drawing) {
        let [left, right] = self.x.pixels;
        let bottom = self.y.pixels[0];
        let ticks = self.y.ticks(7);
        for &tick in &ticks {
            let y = self.y.at(tick);
            drawing.line([[left, y], [right, y]], Ink::Grid, 1.0);
            drawing.text([left - 8.0, y], format!("{tick:.*}", decimals(&ticks)), Ink::Muted, Anchor::End);
        }
        drawing.line([[left, self.equal], [right, self.equal]], Ink::Grid, 1.0);
        drawing.text([left - 8.0, self.equal], "equal", Ink::Muted, Anchor::End);
        let ticks = self.x.ticks(9);
        drawing.line([[left, bottom], [right, bottom]], Ink::Muted, 1.0);
        for &tick in &ticks {
            let x = self.x.at(tick);
            drawing.line([[x, bottom], [x, bottom + 4.0]], Ink::Muted, 1.0);
            drawing.text(
                [x, bottom + 14.0],
                format!("{tick:.*}", decimals(&ticks)),
                Ink::Muted,
                Anchor::Middle,
            );
        }
        let name = format!("median time of a picture, {}", self.unit.name);
        drawing.text([right, bottom + 33.0], name, Ink::Text, Anchor::End);
        drawing.text([0.0, 34.0], "PSNR against the base, dB", Ink::Text, Anchor::Start);
    }

    fn legend(&self, drawing: &mut Drawing) {
        let mut x = 0.0;
        let y = 8.0;
        let mut entry = |what: &str, mark: &dyn Fn(f64) -> Mark| {
            drawing.marks.push(mark(x + 10.0));
            drawing.text([x + 26.0, y], what, Ink::Text, Anchor::Start);
            x += width(what, TEXT) + 46.0;
        };
        let line = |x: f64, ink, dashed| Mark::Line {
            points: vec![[x - 9.0, y], [x + 9.0, y]],
            ink,
            width: 1.5,
            dashed,
        };
        entry("base", &|x| Mark::Diamond { at: [x, y], radius: DOT + 2.0, ink: Ink::Text });
        entry("configuration", &|x| Mark::Dot {
            at: [x, y],
            radius: DOT,
            ink: Ink::Accent,
            fill: Ink::Accent,
        });
        entry("Pareto front", &|x| line(x, Ink::Accent, false));
        if self.points.iter().any(|point| self.kind(point) == RowKind::FewerSteps) {
            entry("plain model with fewer steps", &|x| line(x, Ink::Muted, true));
        }
    }

    /// From point to point; the base, whose pictures are its own, is no part of it.
    fn fewer_steps(&self, drawing: &mut Drawing) {
        let fewer = self.points.iter().filter(|point| self.kind(point) == RowKind::FewerSteps);
        let mut points: Vec<[f64; 2]> = fewer.map(|point| self.at(point)).collect();
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        if points.len() > 1 {
            drawing.marks.push(Mark::Line { points, ink: Ink::Muted, width: 1.5, dashed: true });
        }
    }

    /// As stairs: whoever has as much time as a point can have its quality.
    fn front(&self, drawing: &mut Drawing) {
        let stairs = self.stairs();
        if stairs.len() > 1 {
            drawing.line(stairs, Ink::Accent, 1.5);
        }
    }

    fn stairs(&self) -> Vec<[f64; 2]> {
        let mut stairs: Vec<[f64; 2]> = Vec::new();
        for [x, y] in self.front.iter().map(|point| self.at(point)) {
            if let Some(&[_, before]) = stairs.last() {
                stairs.push([x, before]);
            }
            stairs.push([x, y]);
        }
        stairs
    }

    fn dots(&self, drawing: &mut Drawing) {
        for point in &self.points {
            let at = self.at(point);
            drawing.marks.push(match self.kind(point) {
                RowKind::Base => Mark::Diamond { at, radius: DOT + 2.0, ink: Ink::Text },
                RowKind::Config => Mark::Dot { at, radius: DOT, ink: Ink::Accent, fill: Ink::Accent },
                RowKind::FewerSteps => Mark::Dot { at, radius: DOT - 1.0, ink: Ink::Muted, fill: Ink::Paper },
            });
            let from = at.map(|place| place - DOT - 4.0);
            drawing.hint(from, at.map(|place| place + DOT + 4.0), self.note(point));
        }
        self.labels(drawing);
    }

    fn note(&self, point: &Point) -> String {
        let (name, time) = (&self.rows[point.row].name, seconds(point.seconds));
        match self.kind(point) {
            RowKind::Base => format!("{name}: {time}"),
            _ if point.psnr >= EQUAL => format!("{name}: {time}, equal to the base"),
            _ => format!("{name}: {time}, {:.1} dB", point.psnr),
        }
    }

    /// Names beside points, those on the front first, wherever there is room for one.
    fn labels(&self, drawing: &mut Drawing) {
        let dots: Vec<Area> =
            self.points.iter().map(|point| Area::around(self.at(point), DOT + 1.0)).collect();
        let steps = self.stairs();
        let mut taken: Vec<Area> = steps.windows(2).map(|pair| Area::between(pair[0], pair[1])).collect();
        let rank = |point: &&Point| match self.kind(point) {
            RowKind::Base => 0,
            _ if self.front.contains(point) => 1,
            RowKind::Config => 2,
            RowKind::FewerSteps => 3,
        };
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by_key(rank);
        for point in points {
            let ink = if self.kind(point) == RowKind::FewerSteps { Ink::Muted } else { Ink::Text };
            let text = fitted(&self.rows[point.row].name, TEXT, 220.0);
            let wide = width(&text, TEXT);
            let [x, y] = self.at(point);
            let places = [
                ([x + 10.0, y + 10.0], Anchor::Start),
                ([x + 10.0, y - 10.0], Anchor::Start),
                ([x - 10.0, y - 10.0], Anchor::End),
                ([x + 11.0, y], Anchor::Start),
                ([x - 10.0, y + 10.0], Anchor::End),
                ([x, y - 16.0], Anchor::Middle),
                ([x, y + 16.0], Anchor::Middle),
                ([x - 11.0, y], Anchor::End),
            ];
            let free = places.into_iter().find_map(|(at, anchor)| {
                let area = Area::of_text(at, anchor, wide);
                let is_inside =
                    area.from[0] >= self.x.pixels[0] && area.to[0] <= WIDTH && area.to[1] < self.y.pixels[0];
                let is_free = is_inside
                    && area.from[1] > 40.0
                    && !dots.iter().chain(&taken).any(|other| area.meets(other));
                is_free.then_some((at, anchor, area))
            });
            if let Some((at, anchor, area)) = free {
                taken.push(area);
                drawing.text(at, text, ink, anchor);
            }
        }
    }

    fn description(&self) -> String {
        let notes =
            |points: &[Point]| points.iter().map(|point| self.note(point)).collect::<Vec<_>>().join("; ");
        let count = counted(self.points.len(), "row");
        format!(
            "Scatter plot of {count}: PSNR against the base, over the median time of a picture; up and left is better. On the Pareto \
             front, from fast to slow: {}.",
            notes(&self.front)
        )
    }
}

/// A part of the plot that is taken.
#[derive(Clone, Copy, Debug)]
struct Area {
    from: [f64; 2],
    to: [f64; 2],
}

impl Area {
    fn around([x, y]: [f64; 2], radius: f64) -> Self {
        Self { from: [x - radius, y - radius], to: [x + radius, y + radius] }
    }

    /// Of a line.
    fn between(a: [f64; 2], b: [f64; 2]) -> Self {
        let [from, to] = [f64::min, f64::max].map(|end| [end(a[0], b[0]), end(a[1], b[1])]);
        Self { from: from.map(|place| place - 1.5), to: to.map(|place| place + 1.5) }
    }

    fn of_text([x, y]: [f64; 2], anchor: Anchor, wide: f64) -> Self {
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - wide / 2.0,
            Anchor::End => x - wide,
        };
        let half = TEXT / 2.0 + 1.0;
        Self { from: [left, y - half], to: [left + wide, y + half] }
    }

    fn meets(&self, other: &Self) -> bool {
        (0..2).all(|axis| self.from[axis] < other.to[axis] && other.from[axis] < self.to[axis])
    }
}
