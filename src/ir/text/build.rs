//! Lines into graphs.

use super::ast::{Line, Operand, Spanned, Statement};
use super::lexer::{ParseError, Span};
use super::parse::{GraphText, Parsed, Parser};
use crate::op::{Constant, Op};
use crate::{Fact, Graph, GraphError, ModulePath, Name, ValueId};
use std::collections::BTreeMap;

/// The graph that `text` describes; its inputs take their facts from `known`.
pub(super) fn build_graph(parser: &Parser, text: &GraphText, known: &BTreeMap<Name, Fact>) -> Parsed<Graph> {
    let mut builder = Builder { parser, graph: Graph::new() };
    for input in &text.inputs {
        let Some(fact) = known.get(&input.node) else {
            return Err(parser.error_at(input.span, format!("nothing called `%{}` is declared", input.node)));
        };
        let added = builder.graph.input(input.node.clone(), fact.clone());
        added.map_err(|error| parser.error_at(input.span, error.to_string()))?;
    }
    for statement in &text.body {
        match statement {
            Statement::Line(line) => builder.line(line)?,
            Statement::Repeat(repeat) => {
                for index in repeat.start..repeat.end {
                    let overflow = || parser.error_at(repeat.span.span, "an integer of the block overflows");
                    for line in repeat.round(index).ok_or_else(overflow)? {
                        builder.line(&line).map_err(|mut error| {
                            error.message += &format!(" (%i = {index})");
                            error
                        })?;
                    }
                }
            }
        }
    }
    if text.labels.len() != text.results.len() {
        let (labels, results) = (text.labels.len(), text.results.len());
        let message = format!("{labels} outputs are declared and {results} returned");
        return Err(parser.error_at(text.span, message));
    }
    for (label, result) in text.labels.iter().zip(&text.results) {
        let value = builder.operand(result, None)?;
        builder.graph.output(label.node.clone(), value);
    }
    Ok(builder.graph)
}

struct Builder<'a, 's> {
    parser: &'a Parser<'s>,
    graph: Graph,
}

impl Builder<'_, '_> {
    fn line(&mut self, line: &Line) -> Parsed<()> {
        let typed = line.operands.iter().find(|operand| !matches!(operand.node, Operand::Constant { .. }));
        let dtype = match typed {
            Some(operand) => {
                let id = self.operand(operand, None)?;
                Some(self.graph[id].fact.dtype)
            }
            None => None,
        };
        let operands =
            line.operands.iter().map(|operand| self.operand(operand, dtype)).collect::<Parsed<Vec<_>>>()?;
        let op = match &line.fused {
            Some(op) => Some(Ok(Op::clone(op))),
            None => Op::from_text(&line.op.node, line.attribute_map()),
        };
        let op = match op {
            Some(Ok(op)) => op,
            Some(Err(error)) => {
                let none = line.attributes.node.is_empty();
                let span = if none { line.op.span } else { line.attributes.span };
                return Err(self.error(span, format!("`{}`: {error}", line.op.node)));
            }
            None => return Err(self.error(line.op.span, format!("unknown op `{}`", line.op.node))),
        };
        let name = Name::from(line.name.node.to_string());
        let added = self.graph.add(op, &operands, name, ModulePath::from(line.path.to_string()));
        let id = added.map_err(|error| match &error {
            GraphError::DuplicateName(_) => self.error(line.name.span, error.to_string()),
            _ => self.error(line.op.span, error.to_string()),
        })?;
        let inferred = &self.graph[id].fact;
        if !inferred.same_type(&line.fact.node) {
            let message = format!("`{}` gives {inferred} here, not {}", line.op.node, line.fact.node);
            return Err(self.error(line.fact.span, message));
        }
        Ok(())
    }

    fn operand(&mut self, operand: &Spanned<Operand>, dtype: Option<crate::DType>) -> Parsed<ValueId> {
        let added = match &operand.node {
            Operand::Value(name) => {
                let name = name.to_string();
                let unknown =
                    || self.error(operand.span, format!("no value `%{name}` is defined before this"));
                return self.graph.find(&name).ok_or_else(unknown);
            }
            Operand::Weight { tensor, fact } => self.graph.weight(tensor.to_string(), fact.clone()),
            Operand::Constant { value, dtype: own } => match own.or(dtype) {
                Some(dtype) => self.graph.constant(Constant { value: *value, dtype }),
                None => {
                    let message =
                        "this number needs a type, as in `1.0 f32`: nothing on the line gives it one";
                    return Err(self.error(operand.span, message));
                }
            },
        };
        added.map_err(|error| self.error(operand.span, error.to_string()))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        self.parser.error_at(span, message)
    }
}
