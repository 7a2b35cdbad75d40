//! The syntax tree between text and graphs: lines, and blocks of lines repeated with an index.

use super::lexer::Span;
use crate::Fact;
use crate::attribute::written_number;
use crate::op::{Op, Real};
use serde_json::{Map, Number, Value};
use std::fmt;

/// A node with its place in the text; equality ignores the place.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub node: T,
    pub span: Span,
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T> From<T> for Spanned<T> {
    fn from(node: T) -> Self {
        Self { node, span: Span::default() }
    }
}

/// An integer that advances with the index of a repeated block: `scale * i + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affine {
    pub scale: i64,
    pub offset: i64,
}

impl Affine {
    /// The line through `(index, first)` and `(index + 1, second)`.
    pub fn through(index: i64, first: i64, second: i64) -> Option<Self> {
        let scale = second.checked_sub(first)?;
        let offset = first.checked_sub(scale.checked_mul(index)?)?;
        Some(Self { scale, offset })
    }

    /// Its value at `index`.
    pub fn at(self, index: i64) -> Option<i64> {
        self.scale.checked_mul(index)?.checked_add(self.offset)
    }

    /// Parses the inside of `{…}`.
    pub fn parse(text: &str) -> Option<Self> {
        let (term, offset) = match text.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')) {
            Some((at, _)) => (&text[..at], text[at..].parse().ok()?),
            None => (text, 0),
        };
        let scale = match term {
            "i" => 1,
            _ => term.strip_suffix("*i")?.parse().ok()?,
        };
        Some(Self { scale, offset })
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale {
            1 => f.write_str("{i")?,
            scale => write!(f, "{{{scale}*i")?,
        }
        match self.offset {
            0 => f.write_str("}"),
            offset => write!(f, "{offset:+}}}"),
        }
    }
}

/// A dotted name, some of whose segments may advance with the index: `blocks.{i}.attn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplatePart {
    Text(String),
    Index(Affine),
}

/// The dotted segments of a name; none if it is empty.
fn segments(name: &str) -> impl Iterator<Item = &str> {
    name.split('.').filter(move |_| !name.is_empty())
}

impl Template {
    /// No name at all: the path of the root module.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// A template without holes.
    pub fn plain(name: &str) -> Self {
        Self(segments(name).map(|segment| TemplatePart::Text(segment.to_owned())).collect())
    }

    /// Whether it has no holes.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|segment| matches!(segment, TemplatePart::Text(_)))
    }

    /// Parses a name with holes; `None` if a hole holds no `a*i+b`.
    pub fn parse(name: &str) -> Option<Self> {
        let segment = |text: &str| match text.strip_prefix('{') {
            Some(hole) => Affine::parse(hole.strip_suffix('}')?).map(TemplatePart::Index),
            None if text.contains(['{', '}']) => None,
            None => Some(TemplatePart::Text(text.to_owned())),
        };
        segments(name).map(segment).collect::<Option<_>>().map(Self)
    }

    /// The template that is `first` at `index` and `second` at `index + 1`.
    pub fn through(index: i64, first: &str, second: &str) -> Option<Self> {
        let (a, b): (Vec<_>, Vec<_>) = (segments(first).collect(), segments(second).collect());
        let segment = |(a, b): (&&str, &&str)| match a == b {
            true => Some(TemplatePart::Text((*a).to_owned())),
            false => Affine::through(index, a.parse().ok()?, b.parse().ok()?).map(TemplatePart::Index),
        };
        // A hole cannot be written as the first segment.
        (a.len() == b.len() && a.first() == b.first())
            .then(|| a.iter().zip(&b).map(segment).collect::<Option<_>>().map(Self))?
    }

    /// `self` as it is written below `base`: `.rest` if it starts with it, nothing if it is it.
    pub fn relative_to(&self, base: &Self) -> String {
        match self.0.strip_prefix(base.0.as_slice()) {
            Some([]) => String::new(),
            Some(rest) if !base.0.is_empty() => format!(".{}", Self(rest.to_vec())),
            _ => self.to_string(),
        }
    }

    /// What is written as `self` below `base`: the inverse of [`Template::relative_to`].
    pub fn below(mut self, base: &Self) -> Self {
        // A leading dot is an empty first segment.
        if self.0.first() == Some(&TemplatePart::Text(String::new())) {
            self.0.splice(..1, base.0.iter().cloned());
        }
        self
    }

    /// The longest leading segments that `self` and `other` share.
    pub fn common_prefix(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).take_while(|(a, b)| a == b).map(|(a, _)| a.clone()).collect())
    }

    /// The name at `index`.
    pub fn at(&self, index: i64) -> Option<String> {
        let segments: Option<Vec<_>> = self
            .0
            .iter()
            .map(|segment| match segment {
                TemplatePart::Text(text) => Some(text.clone()),
                TemplatePart::Index(affine) => affine.at(index).map(|value| value.to_string()),
            })
            .collect();
        Some(segments?.join("."))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "." })?;
            match segment {
                TemplatePart::Text(text) => f.write_str(text)?,
                TemplatePart::Index(affine) => affine.fmt(f)?,
            }
        }
        Ok(())
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Bool(bool),
    Number(Number),
    Affine(Affine),
    Word(String),
    List(Vec<Attribute>),
}

impl Attribute {
    /// The attribute that serde made `value` of; `None` for null and objects, which ops do not use.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(number.clone())),
            Value::String(word) => Some(Self::Word(word.clone())),
            Value::Array(items) => items.iter().map(Self::from_json).collect::<Option<_>>().map(Self::List),
            Value::Null | Value::Object(_) => None,
        }
    }

    /// What serde reads the attribute from.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Affine(affine) => Value::String(affine.to_string()),
            Self::Word(word) => Value::String(word.clone()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
        }
    }

    /// The attribute that is `first` at `index` and `second` at `index + 1`.
    pub fn through(index: i64, first: &Self, second: &Self) -> Option<Self> {
        match (first, second) {
            (a, b) if a == b => Some(a.clone()),
            (Self::Number(a), Self::Number(b)) => {
                Affine::through(index, a.as_i64()?, b.as_i64()?).map(Self::Affine)
            }
            (Self::List(a), Self::List(b)) if a.len() == b.len() => a
                .iter()
                .zip(b)
                .map(|(a, b)| Self::through(index, a, b))
                .collect::<Option<_>>()
                .map(Self::List),
            _ => None,
        }
    }

    /// The attribute at `index`.
    pub fn at(&self, index: i64) -> Option<Self> {
        match self {
            Self::Affine(affine) => affine.at(index).map(|value| Self::Number(value.into())),
            Self::List(items) => {
                items.iter().map(|item| item.at(index)).collect::<Option<_>>().map(Self::List)
            }
            other => Some(other.clone()),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => written_number(number).fmt(f),
            Self::Affine(affine) => affine.fmt(f),
            Self::Word(word) => word.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What an op reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Value(Template),
    Weight {
        tensor: Template,
        fact: Fact,
    },
    /// A number; its dtype is given only where it is not that of the line's first value.
    Constant {
        value: Real,
        dtype: Option<crate::DType>,
    },
}

/// One op.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub name: Spanned<Template>,
    pub op: Spanned<String>,
    pub operands: Vec<Spanned<Operand>>,
    pub attributes: Spanned<Vec<(String, Attribute)>>,
    /// The op itself, where it is written as a formula instead of operands and attributes.
    pub fused: Option<Box<Op>>,
    pub fact: Spanned<Fact>,
    pub path: Template,
    /// Printed behind `//`; not part of what the line means.
    pub comment: Option<String>,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        // A fact's rate is inferred, so lines agree if its type does.
        self.name == other.name
            && self.op == other.op
            && self.operands == other.operands
            && self.attributes == other.attributes
            && self.fused == other.fused
            && self.fact.node.same_type(&other.fact.node)
            && self.path == other.path
    }
}

impl Line {
    /// The attributes as serde reads them.
    pub fn attribute_map(&self) -> Map<String, Value> {
        self.attributes.node.iter().map(|(key, value)| (key.clone(), value.to_json())).collect()
    }
}

/// A value carried from one round of a repeated block to the next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Carried {
    /// The body's value, which the next round reads as `stem.prev`.
    pub stem: String,
    /// What the first round reads instead.
    pub first: Spanned<Template>,
}

/// A block of lines, repeated for each index in `start..end`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Repeat {
    pub start: i64,
    pub end: i64,
    pub carried: Vec<Carried>,
    /// What the module paths of all lines start with; they are printed relative to it.
    pub path: Template,
    pub body: Vec<Line>,
    pub span: Spanned<()>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    Line(Line),
    Repeat(Repeat),
}

/// The suffix by which a round reads the previous round's value.
pub(super) const PREVIOUS: &str = ".prev";

impl Repeat {
    /// The lines of round `index`, all names written out; `None` if an integer overflows.
    pub fn round(&self, index: i64) -> Option<Vec<Line>> {
        let stems: std::collections::HashSet<String> =
            self.body.iter().map(|line| line.name.node.to_string()).collect();
        self.body.iter().map(|line| self.line(line, index, &stems)).collect()
    }

    fn line(&self, line: &Line, index: i64, stems: &std::collections::HashSet<String>) -> Option<Line> {
        let operand = |operand: &Spanned<Operand>| {
            let node = match &operand.node {
                Operand::Value(name) => Operand::Value(self.value(name, index, stems)?),
                Operand::Weight { tensor, fact } => {
                    Operand::Weight { tensor: Template::plain(&tensor.at(index)?), fact: fact.clone() }
                }
                constant => constant.clone(),
            };
            Some(Spanned { node, span: operand.span })
        };
        let attribute = |(key, value): &(String, Attribute)| Some((key.clone(), value.at(index)?));
        Some(Line {
            name: Spanned { node: local(&line.name.node, index), span: line.name.span },
            op: line.op.clone(),
            operands: line.operands.iter().map(operand).collect::<Option<_>>()?,
            attributes: Spanned {
                node: line.attributes.node.iter().map(attribute).collect::<Option<_>>()?,
                span: line.attributes.span,
            },
            fused: line.fused.clone(),
            fact: line.fact.clone(),
            path: Template::plain(&line.path.at(index)?),
            comment: None,
        })
    }

    fn value(
        &self,
        name: &Template,
        index: i64,
        stems: &std::collections::HashSet<String>,
    ) -> Option<Template> {
        let written = name.to_string();
        if stems.contains(&written) {
            return Some(local(name, index));
        }
        let carried = written
            .strip_suffix(PREVIOUS)
            .and_then(|stem| self.carried.iter().find(|carried| carried.stem == stem));
        match carried {
            Some(carried) if index == self.start => Some(carried.first.node.clone()),
            Some(carried) => Some(local(&Template::plain(&carried.stem), index - 1)),
            None => Some(Template::plain(&name.at(index)?)),
        }
    }
}

/// The value `stem` of round `index`.
fn local(stem: &Template, index: i64) -> Template {
    Template::plain(&format!("{stem}.{index}"))
}
