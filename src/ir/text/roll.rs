//! Finding repeated blocks in a list of lines.
//!
//! Rolling is by isomorphism. Two neighbouring rounds propose a body: the same ops over the same facts, operands in
//! the same places, integers that advance evenly. The body is accepted for as many rounds as it unrolls to exactly
//! the lines that are there, so a rolled print means what the plain one would.

use super::ast::{Attribute, Carried, Line, Operand, PREVIOUS, Repeat, Spanned, Statement, Template};
use super::range;
use std::collections::{HashMap, HashSet};

/// Groups `lines` into repeated blocks wherever two or more rounds agree.
pub(super) fn roll(lines: Vec<Line>) -> Vec<Statement> {
    let places: HashMap<String, usize> =
        lines.iter().enumerate().map(|(at, line)| (line.name.node.to_string(), at)).collect();
    let mut statements = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        match find(&lines, &places, at) {
            Some(repeat) => {
                at += repeat.body.len() * (repeat.end - repeat.start) as usize;
                statements.push(Statement::Repeat(repeat));
            }
            None => {
                statements.push(Statement::Line(lines[at].clone()));
                at += 1;
            }
        }
    }
    statements
}

/// The repeated block that starts at line `at`, if there is one.
fn find(lines: &[Line], places: &HashMap<String, usize>, at: usize) -> Option<Repeat> {
    let (stem, start) = split_index(&lines[at].name.node.to_string())?;
    let second = *places.get(&format!("{stem}.{}", start.checked_add(1)?))?;
    let period = second.checked_sub(at).filter(|&period| period > 0 && second + period <= lines.len())?;
    let mut repeat = propose(&lines[at..second], &lines[second..second + period], start)?;
    let rounds = lines[at..]
        .chunks_exact(period)
        .zip(start..range::LIMIT)
        .take_while(|(round, index)| repeat.round(*index).is_some_and(|unrolled| unrolled == **round));
    let rounds = rounds.count() as i64;
    repeat.end = start + rounds;
    (rounds >= 2).then_some(repeat)
}

/// Splits `attn.17` into `("attn", 17)`. An index is a `u32`, as in the text's ranges.
fn split_index(name: &str) -> Option<(String, i64)> {
    let (stem, index) = name.rsplit_once('.')?;
    Some((stem.to_owned(), index.parse::<u32>().ok()?.into()))
}

/// The body that unrolls to `first` at `start` and to `second` at `start + 1`, if any can.
fn propose(first: &[Line], second: &[Line], start: i64) -> Option<Repeat> {
    let stem = |line: &Line, index: i64| {
        split_index(&line.name.node.to_string()).filter(|(_, found)| *found == index).map(|(stem, _)| stem)
    };
    let stems: Vec<String> = first.iter().map(|line| stem(line, start)).collect::<Option<_>>()?;
    let matches =
        second.iter().zip(&stems).all(|(line, expected)| stem(line, start + 1).as_ref() == Some(expected));
    if !matches {
        return None;
    }
    let mut proposal = Proposal { start, stems: stems.iter().cloned().collect(), carried: Vec::new() };
    let body: Vec<Line> = first
        .iter()
        .zip(second)
        .zip(&stems)
        .map(|((a, b), stem)| proposal.line(a, b, stem))
        .collect::<Option<_>>()?;
    let path = body.iter().map(|line| line.path.clone()).reduce(|a, b| a.common_prefix(&b))?;
    Some(Repeat { start, end: start + 2, carried: proposal.carried, path, body, span: ().into() })
}

struct Proposal {
    start: i64,
    stems: HashSet<String>,
    carried: Vec<Carried>,
}

impl Proposal {
    fn line(&mut self, a: &Line, b: &Line, stem: &str) -> Option<Line> {
        if a.op != b.op
            || a.fused != b.fused
            || !a.fact.node.same_type(&b.fact.node)
            || a.operands.len() != b.operands.len()
        {
            return None;
        }
        let operands = a
            .operands
            .iter()
            .zip(&b.operands)
            .map(|(a, b)| self.operand(&a.node, &b.node).map(Spanned::from))
            .collect::<Option<_>>()?;
        Some(Line {
            name: Template::plain(stem).into(),
            op: a.op.clone(),
            operands,
            attributes: self.attributes(&a.attributes.node, &b.attributes.node)?.into(),
            fused: a.fused.clone(),
            fact: a.fact.clone(),
            path: self.template(&a.path, &b.path)?,
            comment: a.comment.clone(),
        })
    }

    fn template(&self, a: &Template, b: &Template) -> Option<Template> {
        Template::through(self.start, &a.to_string(), &b.to_string())
    }

    fn attributes(
        &self,
        a: &[(String, Attribute)],
        b: &[(String, Attribute)],
    ) -> Option<Vec<(String, Attribute)>> {
        let through = |((key, a), (other, b)): (&(String, Attribute), &(String, Attribute))| {
            (key == other).then(|| Some((key.clone(), Attribute::through(self.start, a, b)?)))?
        };
        (a.len() == b.len()).then(|| a.iter().zip(b).map(through).collect())?
    }

    fn operand(&mut self, a: &Operand, b: &Operand) -> Option<Operand> {
        match (a, b) {
            (Operand::Value(a), Operand::Value(b)) => self.value(a, b).map(Operand::Value),
            (Operand::Weight { tensor, fact }, Operand::Weight { tensor: other, fact: other_fact }) => {
                let tensor = self.template(tensor, other)?;
                fact.same_type(other_fact).then(|| Operand::Weight { tensor, fact: fact.clone() })
            }
            (a, b) => (a == b).then(|| a.clone()),
        }
    }

    fn value(&mut self, a: &Template, b: &Template) -> Option<Template> {
        let local = |name: &Template, index: i64| {
            split_index(&name.to_string())
                .filter(|(stem, found)| *found == index && self.stems.contains(stem))
                .map(|(stem, _)| stem)
        };
        if let Some(stem) = local(a, self.start) {
            return (local(b, self.start + 1)? == stem).then(|| Template::plain(&stem));
        }
        if let Some(stem) = local(b, self.start) {
            let carried = Carried { stem: stem.clone(), first: a.clone().into() };
            match self.carried.iter().find(|known| known.stem == stem) {
                Some(known) if *known != carried => return None,
                Some(_) => {}
                None => self.carried.push(carried),
            }
            return Some(Template::plain(&format!("{stem}{PREVIOUS}")));
        }
        let name = self.template(a, b)?;
        // A value from outside must not read as one of the body's.
        let written = name.to_string();
        let reads_as_local = self.stems.contains(&written) || written.ends_with(PREVIOUS);
        (!reads_as_local).then_some(name)
    }
}
