//! Printed lines, each with what it is about, so that programs can be compared line by line.

use crate::{Name, Stage};

/// A printed line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    pub about: Topic,
    pub text: String,
}

/// What a line is about: the same in two programs, however else they differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// The program's first line.
    Program,
    Input(Name),
    Carry(Name),
    /// A stage's first line: what it reads and gives.
    Signature,
    /// The value of this name; inside a repeated block, without its index.
    Value(Name),
    /// The first line of the block that is repeated in this module.
    Repeat(String),
    /// What that block hands to its next round.
    Yield(String),
    /// Where it ends.
    RepeatEnd(String),
    /// What the stage costs.
    Total,
    Return,
    /// Where a stage ends.
    End,
    Schedule,
    /// Where the program ends.
    ProgramEnd,
}

/// Lines that stand together, and their place in the program.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub part: Part,
    pub lines: Vec<Printed>,
}

/// A part of a program's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Its name, inputs and carried values.
    Declarations,
    Stage(Stage),
    Schedule,
}

impl Section {
    pub fn new(part: Part) -> Self {
        Self { part, lines: Vec::new() }
    }

    pub fn push(&mut self, about: Topic, text: impl Into<String>) {
        self.lines.push(Printed { about, text: text.into() });
    }
}
