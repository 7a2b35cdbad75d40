//! Horizontal bars of parts, a group of them for each row.

use super::axis::{Axis, decimals};
use super::drawing::{Anchor, Drawing, Mark, TEXT};
use super::render::{fitted, width};
use crate::evaluation::report::units::Unit;
use crate::page::ink::Ink;

/// The width of all plots.
pub const WIDTH: f64 = 860.0;

/// The widest name beside bars.
const WIDEST_NAME: f64 = 250.0;

/// Rows of a plot with bars: more could not be told apart; the table has them all.
pub const MOST_ROWS: usize = 60;

/// A row's bars.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub is_muted: bool,
    pub bars: Vec<Bar>,
}

/// Parts one after another.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is, for the pointer.
    pub what: &'static str,
    /// The ink, the name and the length of each part.
    pub parts: Vec<(Ink, String, f64)>,
    /// Of its height that is taken, from 0 to 1.
    pub share: f64,
    /// Whether the sum is written behind it.
    pub is_labelled: bool,
}

impl Bar {
    fn sum(&self) -> f64 {
        self.parts.iter().map(|(_, _, length)| length).sum()
    }
}

/// What is drawn around bars.
#[derive(Clone, Debug)]
pub struct Frame<'f> {
    pub title: &'f str,
    pub unit: Unit,
    /// Bars of a group that lie upon one another rather than below.
    pub overlap: bool,
    /// The inks and what they stand for.
    pub legend: Vec<(Ink, String)>,
}

/// Bars of `groups`.
pub fn bars(frame: &Frame, groups: &[Group]) -> Drawing {
    let (left_out, groups) = (groups.len().saturating_sub(MOST_ROWS), &groups[..groups.len().min(MOST_ROWS)]);
    let names = groups.iter().map(|group| width(&group.name, TEXT)).fold(0.0, f64::max).min(WIDEST_NAME);
    let all = || groups.iter().flat_map(|group| &group.bars);
    let longest = all().map(Bar::sum).fold(0.0, f64::max);
    let labels = all().filter(|bar| bar.is_labelled).map(|bar| width(&frame.unit.text(bar.sum()), TEXT));
    let left = names.ceil() + 12.0;
    let right = WIDTH - labels.fold(0.0, f64::max).ceil() - 14.0;
    let lines = if frame.overlap { 1 } else { groups.first().map_or(1, |group| group.bars.len()) };
    let (bar_height, gap) = if lines == 1 { (17.0, 9.0) } else { (13.0, 11.0) };
    let pitch = bar_height * lines as f64 + gap;
    let (top, legend_rows) = legend_height(frame);
    let bottom = top + pitch * groups.len() as f64;
    let below = if left_out > 0 { 44.0 } else { 24.0 };
    let mut drawing = Drawing::new(WIDTH, bottom + below, frame.title);
    legend(&mut drawing, legend_rows);
    let axis = Axis { from: 0.0, to: longest / frame.unit.size, pixels: [left, right] };
    let ticks = axis.ticks(7);
    for &tick in &ticks {
        let x = axis.at(tick);
        drawing.line([[x, top - 4.0], [x, bottom]], Ink::Grid, 1.0);
        let unit = if tick == 0.0 { "" } else { frame.unit.name };
        let text = format!("{tick:.*} {unit}", decimals(&ticks));
        drawing.text([x, bottom + 12.0], text.trim_end(), Ink::Muted, Anchor::Middle);
    }
    for (at, group) in groups.iter().enumerate() {
        let y = top + pitch * at as f64;
        let ink = if group.is_muted { Ink::Muted } else { Ink::Text };
        let name = fitted(&group.name, TEXT, WIDEST_NAME);
        let middle = y + bar_height * lines as f64 / 2.0;
        drawing.text([left - 8.0, middle], name, ink, Anchor::End);
        for (line, bar) in group.bars.iter().enumerate() {
            let line = if frame.overlap { 0.0 } else { line as f64 };
            let y = y + bar_height * line + bar_height * (1.0 - bar.share) / 2.0;
            draw_bar(&mut drawing, &axis, frame.unit, [y, y + bar_height * bar.share], (&group.name, bar));
        }
    }
    if left_out > 0 {
        let text = format!("and {left_out} more rows, which the table has");
        drawing.text([left, bottom + 32.0], text, Ink::Muted, Anchor::Start);
    }
    drawing
}

fn draw_bar(
    drawing: &mut Drawing,
    axis: &Axis,
    unit: Unit,
    [top, bottom]: [f64; 2],
    (name, bar): (&str, &Bar),
) {
    let mut sum = 0.0;
    for (ink, _, length) in bar.parts.iter().filter(|(_, _, length)| *length > 0.0) {
        let [from, to] = [sum, sum + length].map(|value| axis.at(value / unit.size));
        sum += length;
        drawing.marks.push(Mark::Box { from: [from, top], to: [to.max(from + 0.5), bottom], ink: *ink });
    }
    let end = axis.at(sum / unit.size);
    if bar.is_labelled {
        drawing.text([end + 6.0, (top + bottom) / 2.0], unit.text(sum), Ink::Muted, Anchor::Start);
    }
    let part = |(_, what, length): &(Ink, String, f64)| {
        if what.is_empty() {
            String::new()
        } else {
            format!("; {what} {}", Unit { decimals: 3, ..unit }.text(*length))
        }
    };
    let parts: String = bar.parts.iter().map(part).collect();
    drawing.hint(
        [axis.at(0.0), top],
        [end.max(axis.at(0.0) + 4.0), bottom],
        format!("{name}: {} {}{parts}", bar.what, unit.text(sum)),
    );
}

/// Entries of the legend with their places, and the height of all.
fn legend_height(frame: &Frame) -> (f64, Vec<(Ink, String, [f64; 2])>) {
    let (mut x, mut y) = (0.0, 8.0);
    let mut places = Vec::new();
    for (ink, what) in &frame.legend {
        let what = fitted(what, TEXT, WIDEST_NAME);
        let wide = width(&what, TEXT) + 36.0;
        if x + wide > WIDTH && x > 0.0 {
            (x, y) = (0.0, y + 20.0);
        }
        places.push((*ink, what, [x, y]));
        x += wide;
    }
    (if places.is_empty() { 8.0 } else { y + 22.0 }, places)
}

fn legend(drawing: &mut Drawing, entries: Vec<(Ink, String, [f64; 2])>) {
    for (ink, what, [x, y]) in entries {
        drawing.marks.push(Mark::Box { from: [x, y - 5.5], to: [x + 11.0, y + 5.5], ink });
        drawing.text([x + 17.0, y], what, Ink::Text, Anchor::Start);
    }
}
