//! The repeated blocks of a graph, for exports.

use super::ast::{Line, Statement, TemplatePart};
use super::lines::lines;
use super::options::PrintOptions;
use super::roll::roll;
use crate::Graph;
use std::ops::Range;

/// A repeated block.
pub(crate) struct Block {
    pub rounds: Range<i64>,
    /// The values of a round: what they are called before the index of the round, and the segments of the module path that
    /// they share, `{0..19}` where it counts up.
    pub values: Vec<(String, Vec<String>)>,
}

/// The repeated blocks of `graph`, in program order.
pub(crate) fn blocks(graph: &Graph) -> Vec<Block> {
    let statements = roll(lines(graph, &PrintOptions::default())).into_iter();
    let repeats = statements.filter_map(|statement| match statement {
        Statement::Repeat(repeat) => Some(repeat),
        Statement::Line(_) => None,
    });
    let block = |repeat: super::ast::Repeat| {
        let rounds = repeat.start..repeat.end;
        let value = |line: &Line| (line.name.node.to_string(), path(line, &rounds));
        Block { values: repeat.body.iter().map(value).collect(), rounds }
    };
    repeats.map(block).collect()
}

fn path(line: &Line, rounds: &Range<i64>) -> Vec<String> {
    let written = |segment: &TemplatePart| match segment {
        TemplatePart::Text(text) => text.clone(),
        TemplatePart::Index(affine) => match (affine.scale, affine.at(rounds.start), affine.at(rounds.end)) {
            (1, Some(first), Some(end)) => format!("{{{first}..{end}}}"),
            _ => affine.to_string(),
        },
    };
    line.path.0.iter().map(written).collect()
}
