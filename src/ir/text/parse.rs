//! The parser: the grammar of programs. [`super::build`] gives lines their meaning.

use super::ast::{Affine, Attribute, Carried, Line, Operand, PREVIOUS, Repeat, Segment, Spanned, Template};
use super::build::Builder;
use super::formula::FusedText;
use super::lexer::{Lexer, ParseError, Span, Token};
use super::range;
use crate::name::{MOST_SEGMENTS, is_well_formed};
use crate::op::{Op, OpKind, Real};
use crate::{DType, Declaration, Fact, Graph, Name, Program, Rate, Scales, Shape, UnknownScales};
use indexmap::IndexMap;
use serde_json::Number;
use std::collections::BTreeMap;
use std::ops::Range;

/// Parses a program. What parses is well typed; wiring and schedule are [`crate::verify()`]'s to check.
///
/// ```
/// let error = reflux_ir::text::parse("program p {\n  input %x : f33[2] latent\n}").unwrap_err();
/// assert_eq!((error.span.line, error.span.column), (2, 14));
/// ```
pub fn parse(source: &str) -> Result<Program, ParseError> {
    let mut parser = Parser::new(source);
    let program = parser.program()?;
    match parser.peek() {
        Token::End => Ok(program),
        other => Err(parser.error(format!("expected nothing more, found {other}"))),
    }
}

pub(super) type Parsed<T> = Result<T, ParseError>;

pub(super) struct Parser<'s> {
    pub source: &'s str,
    lexer: Lexer<'s>,
    /// The token that is next, and the one behind it.
    ahead: [(Token<'s>, Span); 2],
    /// Where the last token was.
    last: Span,
    /// Whether `{i}` means something here.
    in_block: bool,
    /// How many ops there are so far, those of repeated blocks in every round.
    ops: usize,
    /// How many names the ranges so far expand to.
    names: usize,
}

impl<'s> Parser<'s> {
    pub fn new(source: &'s str) -> Self {
        let mut lexer = Lexer::new(source);
        let ahead = [lexer.next(), lexer.next()];
        Self { source, lexer, ahead, last: Span::default(), in_block: false, ops: 0, names: 0 }
    }
}

impl<'s> Parser<'s> {
    fn program(&mut self) -> Parsed<Program> {
        self.keyword("program")?;
        let (name, span) = self.word("a program name")?;
        if !is_well_formed(&name.replace('-', "_")) {
            return Err(self.error_at(span, format!("`{name}` is not a program name")));
        }
        let mut program = Program {
            name: name.into(),
            inputs: Vec::new(),
            carries: Vec::new(),
            prepares: BTreeMap::new(),
            variants: IndexMap::new(),
            probes: IndexMap::new(),
            schedule: Vec::new(),
        };
        let mut known: BTreeMap<Name, Fact> = BTreeMap::new();
        self.punct("{")?;
        while !self.accept("}") {
            let (keyword, span) =
                self.word("`input`, `carry`, `prepare`, `variant`, `probe`, `schedule` or `}`")?;
            match keyword.as_str() {
                "input" | "carry" => {
                    let (names, fact) = self.declaration()?;
                    let declared =
                        if keyword == "input" { &mut program.inputs } else { &mut program.carries };
                    for name in names {
                        self.declare(&mut known, &name, &fact)?;
                        declared.push(Declaration { name: name.node, fact: fact.clone() });
                    }
                }
                "prepare" => {
                    let rate = self.rate()?;
                    if program.prepares.keys().any(|&earlier| earlier >= rate) || !program.variants.is_empty()
                    {
                        let message = "each prepare stage may occur once; they come in the order of their rates, before variants";
                        return Err(self.error_at(span, message));
                    }
                    let (graph, labels, _) = self.graph(&known, false)?;
                    for (label, output) in labels.iter().zip(graph.outputs()) {
                        self.declare(&mut known, label, &graph[output.value].fact)?;
                    }
                    program.prepares.insert(rate, graph);
                }
                "variant" | "probe" => {
                    let name = Name::from(self.word("a variant name")?.0);
                    let is_probe = keyword == "probe";
                    let (graph, _, choices) = self.graph(&known, is_probe)?;
                    if program.variants.insert(name.clone(), graph).is_some() {
                        return Err(self.error_at(span, format!("`variant {name}` occurs twice")));
                    }
                    if is_probe {
                        program.probes.insert(name, choices);
                    }
                }
                "schedule" => self.schedule(&mut program.schedule)?,
                other => return Err(self.error_at(span, format!("unexpected `{other}`"))),
            }
        }
        Ok(program)
    }

    /// `%names : type rate`
    fn declaration(&mut self) -> Parsed<(Vec<Spanned<Name>>, Fact)> {
        let names = self.value_names()?;
        self.punct(":")?;
        let fact = self.fact()?.node;
        Ok((names, fact.at(self.rate()?)))
    }

    /// Makes `name` known to the graphs that follow.
    fn declare(&self, known: &mut BTreeMap<Name, Fact>, name: &Spanned<Name>, fact: &Fact) -> Parsed<()> {
        match known.insert(name.node.clone(), fact.clone()) {
            None => Ok(()),
            Some(_) => Err(self.error_at(name.span, format!("`%{}` is declared already", name.node))),
        }
    }

    fn rate(&mut self) -> Parsed<Rate> {
        let (word, span) = self.word("a rate")?;
        Rate::from_name(&word).ok_or_else(|| {
            let message = format!("expected a rate (weights, prompt, schedule or latent), found `{word}`");
            self.error_at(span, message)
        })
    }

    fn schedule(&mut self, schedule: &mut Vec<Name>) -> Parsed<()> {
        const MOST_STEPS: usize = 100_000;
        while let Token::Word(_) = self.peek() {
            let (name, span) = self.word("a variant name")?;
            let count = if self.accept("*") { self.integer("a number of steps")? } else { 1 };
            if schedule.len() + count.min(MOST_STEPS) > MOST_STEPS || count > MOST_STEPS {
                return Err(self.error_at(span, format!("a schedule may have at most {MOST_STEPS} steps")));
            }
            schedule.extend(std::iter::repeat_n(Name::from(name), count));
        }
        match self.peek() {
            Token::Punct("}") => Ok(()),
            other => Err(self.error(format!(
                "expected a variant, or `}}` because the schedule comes last; found {other}"
            ))),
        }
    }

    /// `chooses name, name`
    fn choices(&mut self) -> Parsed<Vec<Name>> {
        self.keyword("chooses")?;
        let mut choices = Vec::new();
        loop {
            choices.push(self.word("a variant name")?.0.into());
            if !self.accept(",") {
                return Ok(choices);
            }
        }
    }

    /// `(inputs) -> (labels) { statements return values }`: the graph, its labels, and what stands before `{` in that of a probe:
    /// what it chooses among. Inputs take their facts from `known`.
    fn graph(
        &mut self,
        known: &BTreeMap<Name, Fact>,
        is_probe: bool,
    ) -> Parsed<(Graph, Vec<Spanned<Name>>, Vec<Name>)> {
        let span = self.span();
        let mut builder = Builder::new(self.source);
        for input in self.names()? {
            builder.input(&input, known)?;
        }
        self.punct("->")?;
        let labels = self.names()?;
        let choices = if is_probe { self.choices()? } else { Vec::new() };
        self.punct("{")?;
        // Each statement becomes ops before the next is read: its text takes more memory than they do.
        loop {
            match self.peek() {
                Token::Punct("%") => {
                    let line = self.line(&Template::empty())?;
                    self.count_ops(1, line.name.span)?;
                    builder.line(&line)?;
                }
                Token::Word("repeat") => builder.repeat(&self.repeat()?)?,
                Token::Word("return") => break,
                other => {
                    return Err(self.error(format!("expected an op, `repeat` or `return`, found {other}")));
                }
            }
        }
        self.keyword("return")?;
        let results = self.results()?;
        self.punct("}")?;
        Ok((builder.finish(&labels, &results, span)?, labels, choices))
    }

    /// Refuses more ops than a program can have.
    fn count_ops(&mut self, more: usize, span: Span) -> Parsed<()> {
        const MOST_OPS: usize = 100_000;
        self.ops = self.ops.saturating_add(more);
        if self.ops > MOST_OPS {
            let message = format!(
                "a program may have at most {MOST_OPS} ops, counting a repeated block once per iteration"
            );
            return Err(self.error_at(span, message));
        }
        Ok(())
    }

    fn names(&mut self) -> Parsed<Vec<Spanned<Name>>> {
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

    /// What a graph returns.
    fn results(&mut self) -> Parsed<Vec<Spanned<Operand>>> {
        if self.peek() == Token::Punct("}") {
            return Ok(Vec::new());
        }
        let mut results = self.operands()?;
        resolve(&mut results, &Template::empty());
        Ok(results)
    }

    fn repeat(&mut self) -> Parsed<Repeat> {
        let span = Spanned { node: (), span: self.span() };
        self.keyword("repeat")?;
        self.in_block = true;
        self.punct("%")?;
        self.keyword("i")?;
        self.keyword("in")?;
        let (range, range_span) = self.word("a range")?;
        let Range { start, end } =
            range::bounds(&range).map_err(|message| self.error_at(range_span, message))?;
        let mut carried = Vec::new();
        if self.accept("(") {
            while !self.accept(")") {
                if !carried.is_empty() {
                    self.punct(",")?;
                }
                let name = self.value_name()?;
                let Some(stem) = name.node.strip_suffix(PREVIOUS) else {
                    return Err(self.error_at(name.span, "a carried value is read as `%name.prev`"));
                };
                self.punct("=")?;
                let first = self.value_name()?;
                let first = Spanned { node: Template::plain(&first.node), span: first.span };
                carried.push(Carried { stem: stem.to_owned(), first });
            }
        }
        let path = self.path()?.unwrap_or(Template::empty());
        self.punct("{")?;
        let mut body = Vec::new();
        let names = self.names;
        while self.peek() == Token::Punct("%") {
            body.push(self.line(&path)?);
        }
        if body.is_empty() {
            return Err(self.error(format!("expected an op to repeat, found {}", self.peek())));
        }
        self.yields(&carried, &body)?;
        self.punct("}")?;
        self.in_block = false;
        self.count_ops(body.len().saturating_mul((end - start) as usize), span.span)?;
        // The ranges of a body expand once per iteration.
        let again = (self.names - names).saturating_mul((end - start - 1) as usize);
        self.count_names(again, span.span)?;
        Ok(Repeat { start, end, carried, path, body, span })
    }

    /// `yield` says nothing that the header does not, but it must agree with it.
    fn yields(&mut self, carried: &[Carried], body: &[Line]) -> Parsed<()> {
        let span = self.span();
        let mut yielded = Vec::new();
        if self.peek() == Token::Word("yield") {
            self.keyword("yield")?;
            loop {
                yielded.push(self.value_name()?);
                if !self.accept(",") {
                    break;
                }
            }
        }
        let expected: Vec<_> = carried.iter().map(|carried| carried.stem.as_str()).collect();
        if !yielded.iter().map(|name| &*name.node).eq(expected.iter().copied()) {
            let expected: Vec<_> = expected.iter().map(|stem| format!("%{stem}")).collect();
            let message = match expected.as_slice() {
                [] => "the block carries nothing, so it yields nothing".into(),
                _ => format!("expected `yield {}`, which the block carries", expected.join(", ")),
            };
            return Err(self.error_at(span, message));
        }
        for name in yielded {
            if !body.iter().any(|line| line.name.node.to_string() == *name.node) {
                return Err(self.error_at(name.span, format!("`%{}` is not a value of the block", name.node)));
            }
        }
        Ok(())
    }

    /// `%name = op operands {attributes} : type in path`, the path written below `base`.
    fn line(&mut self, base: &Template) -> Parsed<Line> {
        let name = self.value_name()?;
        let name = Spanned { node: Template::plain(&name.node), span: name.span };
        self.punct("=")?;
        let (op, op_span) = self.word("an op")?;
        self.known_op(&op, op_span)?;
        let mut operands = Vec::new();
        let mut fused = None;
        if Op::kind_of(&op) == Some(OpKind::Fused) {
            let mut text = FusedText::parse(self, &op)?;
            operands = std::mem::take(&mut text.operands);
            fused = Some(text);
        } else if matches!(self.peek(), Token::Punct("%" | "@") | Token::Word(_)) {
            operands = self.operands()?;
        }
        let attributes = self.attributes()?;
        if fused.is_some() && !attributes.node.is_empty() {
            return Err(self.error_at(attributes.span, format!("`{op}` has no attributes, only its formula")));
        }
        self.punct(":")?;
        let fact = self.fact()?;
        let columns = fact.node.shape.last().copied().unwrap_or(1);
        let fused = fused.map(|text| Box::new(text.op(fact.node.dtype, columns)));
        let path = self.path()?.map_or_else(|| base.clone(), |path| path.below(base));
        resolve(&mut operands, &path);
        let op = Spanned { node: op, span: op_span };
        Ok(Line { name, op, operands, attributes, fused, fact, path, comment: None })
    }

    /// Refuses what is no op that can be written.
    pub(super) fn known_op(&self, name: &str, span: Span) -> Parsed<()> {
        match Op::kind_of(name) {
            Some(kind) if kind.is_computed() => Ok(()),
            Some(_) => {
                let message = format!(
                    "`{name}` is no line of its own: declare inputs, write weights and numbers where they are read"
                );
                Err(self.error_at(span, message))
            }
            None => Err(self.error_at(span, unknown_op(name))),
        }
    }

    /// `in module.path`, if it is there.
    fn path(&mut self) -> Parsed<Option<Template>> {
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

    fn operands(&mut self) -> Parsed<Vec<Spanned<Operand>>> {
        let mut operands = self.operand()?;
        while self.accept(",") {
            operands.extend(self.operand()?);
        }
        Ok(operands)
    }

    /// One operand, or the values of a range.
    fn operand(&mut self) -> Parsed<Vec<Spanned<Operand>>> {
        if let Token::Punct("%") = self.peek() {
            let value =
                |name: Spanned<Template>| Spanned { node: Operand::Value(name.node), span: name.span };
            return Ok(self.values()?.into_iter().map(value).collect());
        }
        Ok(vec![self.leaf()?])
    }

    /// One operand, which is no range.
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
    fn values(&mut self) -> Parsed<Vec<Spanned<Template>>> {
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
    fn leaf(&mut self) -> Parsed<Spanned<Operand>> {
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

    fn attributes(&mut self) -> Parsed<Spanned<Vec<(String, Attribute)>>> {
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

    fn fact(&mut self) -> Parsed<Spanned<Fact>> {
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
    fn element_type(&self, word: &str, span: Span) -> Parsed<(DType, Option<Scales>)> {
        let Some((codes, scales)) = word.split_once('.') else {
            let dtype = self.dtype(word, span)?;
            if dtype.is_code() {
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

    fn dtype(&self, word: &str, span: Span) -> Parsed<DType> {
        word.parse().map_err(|error: crate::UnknownDType| self.error_at(span, error.to_string()))
    }

    pub(super) fn integer(&mut self, what: &str) -> Parsed<usize> {
        let (word, span) = self.word(what)?;
        word.parse().map_err(|_| self.error_at(span, format!("expected {what}, found `{word}`")))
    }

    fn template(&mut self, what: &str) -> Parsed<Spanned<Template>> {
        let (word, span) = self.word(what)?;
        self.one_name(&word, span)?;
        let Some(node) = Template::parse(&word) else {
            let message = format!("in `{word}`, braces must hold a whole segment of the form `{{a*i+b}}`");
            return Err(self.error_at(span, message));
        };
        if node.0.iter().skip(1).any(|segment| *segment == Segment::Text(String::new())) {
            return Err(self.error_at(span, format!("`{word}` has an empty segment")));
        }
        if !self.in_block && node.0.iter().any(|segment| matches!(segment, Segment::Index(_))) {
            return Err(self.error_at(span, "there is no `i` outside a repeated block"));
        }
        Ok(Spanned { node, span })
    }

    /// `%name`, without holes.
    fn value_name(&mut self) -> Parsed<Spanned<Name>> {
        self.punct("%")?;
        let (word, span) = self.word("a value name")?;
        Ok(Spanned { node: self.name(&word, span)?, span })
    }

    /// `%name`, or `%stem.{a..b}` for several.
    fn value_names(&mut self) -> Parsed<Vec<Spanned<Name>>> {
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
    fn count_names(&mut self, more: usize, span: Span) -> Parsed<()> {
        const MOST_NAMES: usize = 100_000;
        self.names = self.names.saturating_add(more);
        if self.names > MOST_NAMES {
            return Err(self.error_at(span, format!("ranges may expand to at most {MOST_NAMES} names")));
        }
        Ok(())
    }

    /// What `word`, without a `%`, is the name of.
    fn name(&self, word: &str, span: Span) -> Parsed<Name> {
        self.one_name(word, span)?;
        if is_well_formed(word) {
            Ok(word.into())
        } else {
            Err(self.error_at(span, format!("`{word}` is not a value name (letters, digits, `_` and `.`)")))
        }
    }

    /// Refuses a range where one name is expected.
    fn one_name(&self, word: &str, span: Span) -> Parsed<()> {
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

    fn keyword(&mut self, keyword: &str) -> Parsed<()> {
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

    pub fn error_at(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.source, span, message)
    }
}

/// Writes out `@.weight`, which is short for `@path.weight`.
fn resolve(operands: &mut [Spanned<Operand>], path: &Template) {
    for operand in operands {
        if let Operand::Weight { tensor, .. } = &mut operand.node {
            *tensor = std::mem::replace(tensor, Template::empty()).below(path);
        }
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
