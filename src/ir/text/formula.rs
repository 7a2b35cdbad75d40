//! Formulas of fused ops: `layer_norm(%x, eps=1e-6) * (%scale + 1.0) + %shift`.
//!
//! Operands are named inside the formula, so that a line shows what it computes.

use super::ast::{Attribute, Operand, Spanned};
use super::lexer::Token;
use super::parser::{Parsed, Parser};
use crate::op::{Arg, Binary, Body, BodyBuilder, Constant, Gemm, Op, Operator, Rowwise, Segment};
use crate::{DType, words};

/// A fused op as written, with its operands. `dtype` is that of the line, which comes after.
pub(super) struct FusedText {
    pub operands: Vec<Spanned<Operand>>,
    kind: FusedKind,
}

enum FusedKind {
    Rowwise(Body),
    Gemm { product: Body, segments: Vec<(Option<usize>, Body)> },
}

impl FusedText {
    /// What stands behind the name of a fused op: `FORMULA`, or of a gemm `PRODUCT {columns: FORMULA, …}`.
    pub fn parse(parser: &mut Parser, name: &str) -> Parsed<Self> {
        let mut formula = FormulaParser { parser, operands: Vec::new(), acc: false };
        let first = formula.body()?;
        if Rowwise::NAMES.contains(&name) {
            return Ok(Self { operands: formula.operands, kind: FusedKind::Rowwise(first) });
        }
        formula.acc = true;
        let mut segments = Vec::new();
        if formula.parser.accept("{") {
            while !formula.parser.accept("}") {
                if !segments.is_empty() {
                    formula.parser.punct(",")?;
                }
                segments.push(formula.segment()?);
            }
        }
        if segments.is_empty() {
            segments.push((None, Body::of(Arg::Acc)));
        }
        Ok(Self { operands: formula.operands, kind: FusedKind::Gemm { product: first, segments } })
    }

    /// The op whose result is of type `dtype` and has `columns` columns.
    pub fn op(self, dtype: DType, columns: usize) -> Op {
        match self.kind {
            FusedKind::Rowwise(body) => Rowwise { body, dtype }.into(),
            FusedKind::Gemm { product, segments } => {
                let segment =
                    |(own, body): (Option<usize>, Body)| Segment { columns: own.unwrap_or(columns), body };
                Gemm { product, segments: segments.into_iter().map(segment).collect(), dtype }.into()
            }
        }
    }
}

/// The attributes of an op.
pub(super) fn attributes(op: &Op) -> Vec<(String, Attribute)> {
    let written =
        |(key, value): (&String, &serde_json::Value)| Some((key.clone(), Attribute::from_json(value)?));
    op.attributes().iter().filter_map(written).collect()
}

const TOO_LONG: &str = "the formula is too long: compute a part of it on a separate line";

/// A formula being parsed.
struct FormulaParser<'p, 's> {
    parser: &'p mut Parser<'s>,
    operands: Vec<Spanned<Operand>>,
    /// Whether `acc` means something here.
    acc: bool,
}

impl FormulaParser<'_, '_> {
    /// `columns: FORMULA`, or `FORMULA` of all columns.
    fn segment(&mut self) -> Parsed<(Option<usize>, Body)> {
        let columns = match self.parser.peek() {
            Token::Word(word) if word.bytes().all(|byte| byte.is_ascii_digit()) => {
                let columns = self.parser.integer("a number of columns")?;
                self.parser.punct(":")?;
                Some(columns)
            }
            _ => None,
        };
        Ok((columns, self.body()?))
    }

    fn body(&mut self) -> Parsed<Body> {
        let mut builder = BodyBuilder::default();
        let span = self.parser.span();
        let result = self.sum(&mut builder, 0)?;
        builder.finish(result).ok_or_else(|| self.parser.error_at(span, TOO_LONG))
    }

    /// One more term, unless there are too many: a text that goes on and on is not read to its end.
    fn term(&self, builder: &mut BodyBuilder, op: impl Into<Op>, args: Vec<Arg>) -> Parsed<Arg> {
        if builder.is_full() {
            return Err(self.parser.error(TOO_LONG));
        }
        Ok(builder.term(op, args))
    }

    fn sum(&mut self, builder: &mut BodyBuilder, depth: usize) -> Parsed<Arg> {
        let mut left = self.product(builder, depth)?;
        loop {
            let op = match self.parser.peek() {
                Token::Word("+") => Binary::Add,
                Token::Word("-") => Binary::Sub,
                _ => return Ok(left),
            };
            self.parser.word("an operator")?;
            let right = self.product(builder, depth)?;
            left = self.term(builder, op, vec![left, right])?;
        }
    }

    fn product(&mut self, builder: &mut BodyBuilder, depth: usize) -> Parsed<Arg> {
        let mut left = self.atom(builder, depth)?;
        loop {
            let op = match self.parser.peek() {
                Token::Punct("*") => Binary::Mul,
                Token::Punct("/") => Binary::Div,
                _ => return Ok(left),
            };
            self.parser.advance();
            let right = self.atom(builder, depth)?;
            left = self.term(builder, op, vec![left, right])?;
        }
    }

    /// An operand, a number, `acc`, `op(…, key=value)`, or a sum in parentheses.
    fn atom(&mut self, builder: &mut BodyBuilder, depth: usize) -> Parsed<Arg> {
        const DEEPEST: usize = 64;
        if depth == DEEPEST {
            return Err(self.parser.error("the formula is nested too deeply"));
        }
        if self.parser.accept("(") {
            let inner = self.sum(builder, depth + 1)?;
            self.parser.punct(")")?;
            return Ok(inner);
        }
        let is_leaf = match self.parser.peek() {
            Token::Punct("%" | "@") => true,
            Token::Word(word) => word.parse::<f64>().is_ok() && word != "inf" && word != "nan",
            _ => false,
        };
        if is_leaf {
            return self.leaf(builder);
        }
        let (word, span) = self.parser.word("an operand, a number or an op")?;
        if word == "acc" {
            let message = "`acc` is a product, which is written before the braces";
            return if self.acc { Ok(Arg::Acc) } else { Err(self.parser.error_at(span, message)) };
        }
        self.call(builder, &word, span, depth)
    }

    fn leaf(&mut self, builder: &mut BodyBuilder) -> Parsed<Arg> {
        // Numbers of formulas are f32: a word behind one is an operator.
        if let Token::Word(word) = self.parser.peek() {
            let value: f64 = word.parse().expect("seen to be a number");
            self.parser.advance();
            return Ok(builder.term(Constant { value: value.into(), dtype: DType::F32 }, Vec::new()));
        }
        let operand = self.parser.one_operand()?;
        let known = self.operands.iter().position(|known| known.node == operand.node);
        Ok(Arg::Operand(known.unwrap_or_else(|| {
            self.operands.push(operand);
            self.operands.len() - 1
        })))
    }

    fn call(
        &mut self,
        builder: &mut BodyBuilder,
        name: &str,
        span: super::Span,
        depth: usize,
    ) -> Parsed<Arg> {
        self.parser.known_op(name, span)?;
        self.parser.punct("(")?;
        let (mut args, mut attributes) = (Vec::new(), serde_json::Map::new());
        while !self.parser.accept(")") {
            if !args.is_empty() {
                self.parser.punct(",")?;
            }
            if self.parser.is_key() {
                let (key, at) = self.parser.word("an attribute")?;
                self.parser.punct("=")?;
                if attributes.insert(key.clone(), self.parser.attribute(0)?.to_json()).is_some() {
                    return Err(self.parser.error_at(at, format!("the attribute `{key}` is given twice")));
                }
            } else {
                args.push(self.sum(builder, depth + 1)?);
            }
        }
        match Op::from_text(name, attributes) {
            Some(Ok(op)) => self.term(builder, op, args),
            Some(Err(error)) => {
                let why = words::of_serde(&error.to_string());
                Err(self.parser.error_at(span, format!("`{name}`: {why}")))
            }
            None => Err(self.parser.error_at(span, format!("unknown op `{name}`"))),
        }
    }
}
