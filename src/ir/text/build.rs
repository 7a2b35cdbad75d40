//! Building of graphs from parsed lines.

use super::ast::{Line, Operand, Repeat, Spanned};
use super::lexer::{ParseError, Span};
use super::parser::Parsed;
use crate::op::{Constant, Op};
use crate::{Fact, Graph, GraphBuilder, GraphError, ModulePath, Name, ValueId, words};
use std::collections::BTreeMap;

/// A graph in the making.
pub(super) struct TextBuilder<'s> {
    source: &'s str,
    graph: GraphBuilder,
}

impl<'s> TextBuilder<'s> {
    pub fn new(source: &'s str) -> Self {
        Self { source, graph: GraphBuilder::new() }
    }

    /// Adds an input, whose fact is in `known`.
    pub fn input(&mut self, input: &Spanned<Name>, known: &BTreeMap<Name, Fact>) -> Parsed<()> {
        let Some(fact) = known.get(&input.node) else {
            return Err(self.error(input.span, format!("no value `%{}` is declared", input.node)));
        };
        let added = self.graph.input(input.node.clone(), fact.clone());
        added.map(drop).map_err(|error| self.error(input.span, error.to_string()))
    }

    /// Adds every round of a block.
    pub fn repeat(&mut self, repeat: &Repeat) -> Parsed<()> {
        for index in repeat.start..repeat.end {
            let overflow = || self.error(repeat.span.span, "an integer of the block overflows");
            for line in repeat.round(index).ok_or_else(overflow)? {
                self.line(&line).map_err(|mut error| {
                    error.message += &format!(" (%i = {index})");
                    error
                })?;
            }
        }
        Ok(())
    }

    /// The graph that gives `results` as `labels`; `span` is where it stands.
    pub fn finish(
        mut self,
        labels: &[Spanned<Name>],
        results: &[Spanned<Operand>],
        span: Span,
    ) -> Parsed<Graph> {
        if labels.len() != results.len() {
            let (labels, results) = (labels.len(), results.len());
            let message =
                format!("the numbers of declared and returned outputs differ: {labels} and {results}");
            return Err(self.error(span, message));
        }
        for (label, result) in labels.iter().zip(results) {
            let value = self.operand(result, None)?;
            self.graph.output(label.node.clone(), value);
        }
        Ok(self.graph.finish())
    }

    /// Adds one op.
    pub fn line(&mut self, line: &Line) -> Parsed<()> {
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
                return Err(
                    self.error(span, format!("`{}`: {}", line.op.node, words::of_serde(&error.to_string())))
                );
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
                        "this number needs a type, as in `1.0 f32`: nothing else on the line determines it";
                    return Err(self.error(operand.span, message));
                }
            },
        };
        added.map_err(|error| self.error(operand.span, error.to_string()))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.source, span, message)
    }
}
