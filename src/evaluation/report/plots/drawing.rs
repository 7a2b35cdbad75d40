//! A plot as a list of marks, in pixels from the upper left corner.

use crate::page::ink::Ink;

/// The size of text.
pub const TEXT: f64 = 13.0;

/// A plot.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub width: f64,
    pub height: f64,
    pub title: String,
    /// What is to be seen, for those who cannot see it.
    pub description: String,
    pub marks: Vec<Mark>,
    /// What the pointer is told at a place.
    pub hints: Vec<Hint>,
}

#[derive(Clone, Debug)]
pub enum Mark {
    /// Through `points`, in dashes if it is `dashed`.
    Line {
        points: Vec<[f64; 2]>,
        ink: Ink,
        width: f64,
        dashed: bool,
    },
    /// From its upper left to its lower right corner.
    Box {
        from: [f64; 2],
        to: [f64; 2],
        ink: Ink,
    },
    /// Filled with `fill` within a line of `ink`.
    Dot {
        at: [f64; 2],
        radius: f64,
        ink: Ink,
        fill: Ink,
    },
    /// The same as a square that stands on a corner.
    Diamond {
        at: [f64; 2],
        radius: f64,
        ink: Ink,
    },
    Text {
        at: [f64; 2],
        text: String,
        ink: Ink,
        anchor: Anchor,
        size: f64,
    },
}

/// Which end of a text is at its place; vertically it is the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A part of a plot with a note.
#[derive(Clone, Debug)]
pub struct Hint {
    pub from: [f64; 2],
    pub to: [f64; 2],
    pub text: String,
}

impl Drawing {
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        Self {
            width,
            height,
            title: title.to_owned(),
            description: String::new(),
            marks: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub fn line(&mut self, points: impl Into<Vec<[f64; 2]>>, ink: Ink, width: f64) {
        self.marks.push(Mark::Line { points: points.into(), ink, width, dashed: false });
    }

    pub fn text(&mut self, at: [f64; 2], text: impl Into<String>, ink: Ink, anchor: Anchor) {
        self.marks.push(Mark::Text { at, text: text.into(), ink, anchor, size: TEXT });
    }

    pub fn hint(&mut self, from: [f64; 2], to: [f64; 2], text: impl Into<String>) {
        self.hints.push(Hint { from, to, text: text.into() });
    }
}
