//! The parser's parts that know nothing of programs: tokens, names, operands, attributes and types.

use super::ast::{Affine, Attribute, Operand, Spanned, Template, TemplatePart};
use super::lexer::{Lexer, ParseError, Span, Token};
use super::range;
use crate::name::{MOST_SEGMENTS, is_well_formed};
use crate::op::{Op, Real};
use crate::{DType, Fact, Name, Scales, Shape, UnknownScales};
use serde_json::Number;

pub(super) type Parsed<T> = Result<T, ParseError>;

pub(super) struct Parser<'s> {
    pub source: &'s str,
    lexer: Lexer<'s>,
    /// The token that is next, and the one behind it.
    ahead: [(Token<'s>, Span); 2],
    /// Where the last token was.
    pub(super) last: Span,
    /// Whether `{i}` means something here.
    pub(super) in_block: bool,
    /// How many ops there are so far, those of repeated blocks in every round.
    pub(super) ops: usize,
    /// How many names the ranges so far expand to.
    pub(super) names: usize,
}

impl<'s> Parser<'s> {
    pub fn new(source: &'s str) -> Self {
        let mut lexer = Lexer::new(source);
        let ahead = [lexer.next(), lexer.next()];
        Self { source, lexer, ahead, last: Span::default(), in_block: false, ops: 0, names: 0 }
    }
}

impl<'s> Parser<'s> {
    pub(super) fn names(&mut self) -> Parsed<Vec<Spanned<Name>>> {
        self.punct("(")?;
        let mut names = Vec::new();
        while !self.accept(")") {
            if !names.is_empty() {
                self.punct(",")?;
            }
            names.extend(self.value_names()?);
        }
        Ok(names)
    }

    /// Refuses names that are not ops with a line of their own.
    pub(super) fn known_op(&self, name: &str, span: Span) -> Parsed<()> {
        match Op::kind_of(name) {
            Some(kind) if kind.is_computed() => Ok(()),
            Some(_) => {
                let message = format!(
                    "`{name}` is not written on its own line: declare inputs, and write weights and numbers where they are read"
                );
                Err(self.error_at(span, message))
            }
            None => Err(self.error_at(span, unknown_op(name))),
        }
    }

    /// `in module.path`, if it is there.
    pub(super) fn path(&mut self) -> Parsed<Option<Template>> {
        if self.peek() != Token::Word("in") {
            return Ok(None);
        }
        self.keyword("in")?;
        let path = self.template("a module path")?;
        if path.node.0.len() > MOST_SEGMENTS {
            let message = format!("a module path may have at most {MOST_SEGMENTS} segments");
            return Err(self.error_at(path.span, message));
        }
        Ok(Some(path.node))
    }

    pub(super) fn operands(&mut self) -> Parsed<Vec<Spanned<Operand>>> {
        let mut operands = self.operand()?;
        while self.accept(",") {
            operands.extend(self.operand()?);
        }
        Ok(operands)
    }

    /// One operand, or the values of a range.
    pub(super) fn operand(&mut self) -> Parsed<Vec<Spanned<Operand>>> {
        if let Token::Punct("%") = self.peek() {
            let value =
                |name: Spanned<Template>| Spanned { node: Operand::Value(name.node), span: name.span };
            return Ok(self.values()?.into_iter().map(value).collect());
        }
        Ok(vec![self.leaf()?])
    }

    /// One operand that is not a range.
    pub(super) fn one_operand(&mut self) -> Parsed<Spanned<Operand>> {
        if self.accept("%") {
            let name = self.template("a value name")?;
            return Ok(Spanned { node: Operand::Value(name.node), span: name.span });
        }
        self.leaf()
    }

    /// Whether `key=` follows.
    pub(super) fn is_key(&self) -> bool {
        matches!(self.ahead, [(Token::Word(_), _), (Token::Punct("="), _)])
    }

    /// Passes over a token.
    pub(super) fn advance(&mut self) {
        let [(_, last), next] = self.ahead;
        (self.last, self.ahead) = (last, [next, self.lexer.next()]);
    }

    /// `%name`, which may have holes, or `%stem.{a..b}` for several.
    pub(super) fn values(&mut self) -> Parsed<Vec<Spanned<Template>>> {
        if let (Token::Word(word), _) = self.ahead[1]
            && range::split(word).is_some()
        {
            let plain = |name: Spanned<Name>| Spanned { node: Template::plain(&name.node), span: name.span };
            return Ok(self.value_names()?.into_iter().map(plain).collect());
        }
        self.punct("%")?;
        Ok(vec![self.template("a value name")?])
    }

    /// A weight or a number.
    pub(super) fn leaf(&mut self) -> Parsed<Spanned<Operand>> {
        let span = self.span();
        if self.accept("@") {
            let tensor = self.template("a tensor name")?;
            let fact = self.fact()?.node;
            return Ok(Spanned { node: Operand::Weight { tensor: tensor.node, fact }, span: tensor.span });
        }
        let (word, _) = self.word("an operand: `%value`, `@tensor type` or a number")?;
        let Ok(value) = word.parse::<f64>() else {
            return Err(self.error_at(
                span,
                format!("`{word}` is not an operand; values start with `%`, weights with `@`"),
            ));
        };
        let mut dtype = None;
        if let Token::Word(_) = self.peek() {
            let (word, span) = self.word("an element type")?;
            dtype = Some(self.dtype(&word, span)?);
        }
        Ok(Spanned { node: Operand::Constant { value: Real::from(value), dtype }, span })
    }

    pub(super) fn attributes(&mut self) -> Parsed<Spanned<Vec<(String, Attribute)>>> {
        let mut span = self.span();
        let mut attributes: Vec<(String, Attribute)> = Vec::new();
        if self.accept("{") {
            while !self.accept("}") {
                if !attributes.is_empty() {
                    self.punct(",")?;
                }
                let (key, span) = self.word("an attribute name")?;
                if attributes.iter().any(|(known, _)| *known == key) {
                    return Err(self.error_at(span, format!("the attribute `{key}` is given twice")));
                }
                self.punct("=")?;
                attributes.push((key, self.attribute(0)?));
            }
            let end = self.last;
            if end.line == span.line {
                span.length = end.column + end.length - span.column;
            }
        }
        Ok(Spanned { node: attributes, span })
    }

    pub(super) fn attribute(&mut self, depth: usize) -> Parsed<Attribute> {
        const DEEPEST: usize = 8;
        if self.accept("[") {
            if depth == DEEPEST {
                return Err(self.error("lists are nested too deeply"));
            }
            let mut items = Vec::new();
            while !self.accept("]") {
                if !items.is_empty() {
                    self.punct(",")?;
                }
                items.push(self.attribute(depth + 1)?);
            }
            return Ok(Attribute::List(items));
        }
        if self.accept("{") {
            // `{2*i+1}` is cut into words at `*`, which is punctuation elsewhere.
            let span = self.span();
            let mut text = self.word("`i`, or an integer and `*i`")?.0;
            if self.accept("*") {
                text = format!("{text}*{}", self.word("`i`")?.0);
            }
            self.punct("}")?;
            return match Affine::parse(&text) {
                Some(affine) if self.in_block => Ok(Attribute::Affine(affine)),
                Some(_) => Err(self.error_at(span, "there is no `i` outside a repeated block")),
                None => Err(self.error_at(span, format!("`{text}` is not of the form `a*i+b`"))),
            };
        }
        let (word, span) = self.word("an attribute's value")?;
        match word.as_str() {
            "true" => Ok(Attribute::Bool(true)),
            "false" => Ok(Attribute::Bool(false)),
            _ if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) => {
                Ok(Attribute::Word(word))
            }
            _ => {
                let integer =
                    word.parse::<i64>().map(Number::from).or_else(|_| word.parse::<u64>().map(Number::from));
                let number = integer.ok().or_else(|| Number::from_f64(word.parse().ok()?));
                number
                    .map(Attribute::Number)
                    .ok_or_else(|| self.error_at(span, format!("`{word}` is not a number")))
            }
        }
    }

    pub(super) fn fact(&mut self) -> Parsed<Spanned<Fact>> {
        let (word, span) = self.word("a type like `f32[2,3]`")?;
        let (dtype, scales) = self.element_type(&word, span)?;
        if !self.accept("[") {
            let message = format!("the type needs extents, as in `{word}[2,3]`, or `{word}[]` for a scalar");
            return Err(self.error_at(span, message));
        }
        let mut shape = Vec::new();
        while !self.accept("]") {
            if !shape.is_empty() {
                self.punct(",")?;
            }
            shape.push(self.integer("an extent")?);
        }
        let fact = Fact { scales, ..Fact::new(dtype, Shape::from(shape)) };
        if let Some(fault) = fact.fault() {
            return Err(self.error_at(span, fault));
        }
        Ok(Spanned { node: fact, span })
    }

    /// `bf16`, or, of codes, `i8.row.bf16`.
    pub(super) fn element_type(&self, word: &str, span: Span) -> Parsed<(DType, Option<Scales>)> {
        let Some((codes, scales)) = word.split_once('.') else {
            let dtype = self.dtype(word, span)?;
            if dtype.needs_scales() {
                let message = format!("{dtype} needs scales, as in `{dtype}.row.bf16`");
                return Err(self.error_at(span, message));
            }
            return Ok((dtype, None));
        };
        let dtype = self.dtype(codes, span)?;
        if !dtype.takes_scales() {
            let others = crate::dtype::listed(DType::takes_scales);
            return Err(self.error_at(span, format!("{dtype} has no scales; {others} have")));
        }
        let scales = scales.parse().map_err(|error: UnknownScales| self.error_at(span, error.to_string()))?;
        Ok((dtype, Some(scales)))
    }

    pub(super) fn dtype(&self, word: &str, span: Span) -> Parsed<DType> {
        word.parse().map_err(|error: crate::UnknownDType| self.error_at(span, error.to_string()))
    }

    pub(super) fn integer(&mut self, what: &str) -> Parsed<usize> {
        let (word, span) = self.word(what)?;
        word.parse().map_err(|_| self.error_at(span, format!("expected {what}, found `{word}`")))
    }

    pub(super) fn template(&mut self, what: &str) -> Parsed<Spanned<Template>> {
        let (word, span) = self.word(what)?;
        self.one_name(&word, span)?;
        let Some(node) = Template::parse(&word) else {
            let message = format!("in `{word}`, braces must hold a whole segment of the form `{{a*i+b}}`");
            return Err(self.error_at(span, message));
        };
        if node.0.iter().skip(1).any(|segment| *segment == TemplatePart::Text(String::new())) {
            return Err(self.error_at(span, format!("`{word}` has an empty segment")));
        }
        if !self.in_block && node.0.iter().any(|segment| matches!(segment, TemplatePart::Index(_))) {
            return Err(self.error_at(span, "there is no `i` outside a repeated block"));
        }
        Ok(Spanned { node, span })
    }

    /// `%name`, without holes.
    pub(super) fn value_name(&mut self) -> Parsed<Spanned<Name>> {
        self.punct("%")?;
        let (word, span) = self.word("a value name")?;
        Ok(Spanned { node: self.name(&word, span)?, span })
    }

    /// `%name`, or `%stem.{a..b}` for several.
    pub(super) fn value_names(&mut self) -> Parsed<Vec<Spanned<Name>>> {
        self.punct("%")?;
        let (word, span) = self.word("a value name")?;
        let Some((stem, range)) = range::split(&word) else {
            return Ok(vec![Spanned { node: self.name(&word, span)?, span }]);
        };
        let stem = self.name(stem, span)?;
        let indices = range::bounds(range).map_err(|message| self.error_at(span, message))?;
        self.count_names((indices.end - indices.start) as usize, span)?;
        let name = |index| Spanned { node: format!("{stem}.{index}").into(), span };
        Ok(indices.map(name).collect())
    }

    /// Refuses ranges that expand to too many names.
    pub(super) fn count_names(&mut self, more: usize, span: Span) -> Parsed<()> {
        const MOST_NAMES: usize = 100_000;
        self.names = self.names.saturating_add(more);
        if self.names > MOST_NAMES {
            return Err(self.error_at(span, format!("ranges may expand to at most {MOST_NAMES} names")));
        }
        Ok(())
    }

    /// What `word`, without a `%`, is the name of.
    pub(super) fn name(&self, word: &str, span: Span) -> Parsed<Name> {
        self.one_name(word, span)?;
        if is_well_formed(word) {
            Ok(word.into())
        } else {
            Err(self.error_at(span, format!("`{word}` is not a value name (letters, digits, `_` and `.`)")))
        }
    }

    /// Refuses a range where one name is expected.
    pub(super) fn one_name(&self, word: &str, span: Span) -> Parsed<()> {
        match range::split(word) {
            Some(_) => Err(self.error_at(span, format!("expected one name, but `{word}` is a range"))),
            None => Ok(()),
        }
    }

    pub(super) fn peek(&self) -> Token<'s> {
        self.ahead[0].0
    }

    pub(super) fn span(&self) -> Span {
        self.ahead[0].1
    }

    pub(super) fn accept(&mut self, punct: &str) -> bool {
        let found = matches!(self.peek(), Token::Punct(found) if found == punct);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn punct(&mut self, punct: &str) -> Parsed<()> {
        if self.accept(punct) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{punct}`, found {}", self.peek())))
        }
    }

    pub(super) fn word(&mut self, what: &str) -> Parsed<(String, Span)> {
        let span = self.span();
        match self.peek() {
            Token::Word(word) => {
                self.advance();
                Ok((word.to_owned(), span))
            }
            other => Err(self.error(format!("expected {what}, found {other}"))),
        }
    }

    pub(super) fn keyword(&mut self, keyword: &str) -> Parsed<()> {
        match self.peek() {
            Token::Word(word) if word == keyword => {
                self.advance();
                Ok(())
            }
            other => Err(self.error(format!("expected `{keyword}`, found {other}"))),
        }
    }

    /// `message` about the next token.
    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        match self.peek() {
            Token::Unexpected(c) => self.error_at(self.span(), format!("unexpected character `{c}`")),
            _ => self.error_at(self.span(), message),
        }
    }

    pub(super) fn error_at(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.source, span, message)
    }
}

/// The error for an op that is none, with the nearest one that is.
fn unknown_op(op: &str) -> String {
    let lines = Op::kinds().filter(|(_, kind)| kind.is_computed()).map(|(name, _)| name);
    let nearest = lines.min_by_key(|name| strsim::levenshtein(name, op));
    match nearest.filter(|name| strsim::levenshtein(name, op) <= 1 + name.len() / 3) {
        Some(name) => format!("unknown op `{op}`; did you mean `{name}`?"),
        None => format!("unknown op `{op}`"),
    }
}
