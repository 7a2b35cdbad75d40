//! The parser: the grammar of programs. [`super::build`] gives lines their meaning.

use super::ast::{Carried, Line, Operand, PREVIOUS, Repeat, Spanned, Template};
use super::build::TextBuilder;
use super::formula::FusedText;
use super::lexer::{ParseError, Span, Token};
use super::parser::{Parsed, Parser};
use super::range;
use crate::name::is_well_formed;
use crate::op::{Op, OpKind};
use crate::{Declaration, Fact, Graph, Name, Program, Rate};
use indexmap::IndexMap;
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

/// Parses a type as programs have it behind values: `bf16[1,4096,3072]`, or, of codes, `i8.row.bf16[3072,3072]`.
///
/// ```
/// let text = "u4.group128.bf16[3072,3072]";
/// assert_eq!(reflux_ir::text::parse_type(text).unwrap().to_string(), text);
/// ```
pub fn parse_type(source: &str) -> Result<Fact, ParseError> {
    let mut parser = Parser::new(source);
    let fact = parser.fact()?.node;
    match parser.peek() {
        Token::End => Ok(fact),
        other => Err(parser.error(format!("expected nothing more, found {other}"))),
    }
}

impl Parser<'_> {
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
        let mut builder = TextBuilder::new(self.source);
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
}

/// Writes out `@.weight`, which is short for `@path.weight`.
fn resolve(operands: &mut [Spanned<Operand>], path: &Template) {
    for operand in operands {
        if let Operand::Weight { tensor, .. } = &mut operand.node {
            *tensor = std::mem::replace(tensor, Template::empty()).below(path);
        }
    }
}
