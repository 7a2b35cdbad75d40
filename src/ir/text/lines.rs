//! Conversion of graphs to lines.

use super::ast::{Line, Operand, Template};
use super::formula::attributes;
use super::options::PrintOptions;
use super::write::write_line;
use crate::{Cost, Graph, Op, ValueId};

/// The lines of a graph in program order: every op but inputs, weights and constants.
pub(super) fn lines(graph: &Graph, options: &PrintOptions) -> Vec<Line> {
    graph.order().into_iter().filter(|&id| graph.is_op(id)).map(|id| line(graph, id, options)).collect()
}

impl Graph {
    /// The value as it prints, on one line: an op with its operands, an input or a weight with its type.
    pub fn line(&self, id: ValueId) -> String {
        match self[id].op {
            Op::Input(_) | Op::Weight(_) => format!("{} : {}", self.operand(id), self[id].fact),
            Op::Constant(_) => self.operand(id).to_string(),
            _ => line_of(self, id),
        }
    }
}

/// The op as it is printed, on one line.
pub(crate) fn line_of(graph: &Graph, id: ValueId) -> String {
    let mut text = String::new();
    let options = PrintOptions::default();
    write_line(&mut text, &line(graph, id, &options), &Template::empty(), &options);
    text
}

fn line(graph: &Graph, id: ValueId, options: &PrintOptions) -> Line {
    let node = &graph[id];
    let operands = graph.operands(id);
    let dtype =
        operands.iter().find(|&&id| !matches!(graph[id].op, Op::Constant(_))).map(|&id| graph[id].fact.dtype);
    let operand = |&id: &ValueId| match &graph[id].op {
        Op::Weight(weight) => {
            Operand::Weight { tensor: Template::plain(&weight.tensor), fact: graph[id].fact.clone() }
        }
        Op::Constant(constant) => Operand::Constant {
            value: constant.value,
            dtype: Some(constant.dtype).filter(|own| Some(*own) != dtype),
        },
        _ => Operand::Value(Template::plain(&graph[id].name)),
    };
    let is_fused = node.op.is_fused();
    let attributes = if is_fused { Vec::new() } else { attributes(&node.op) };
    Line {
        name: Template::plain(&node.name).into(),
        op: node.op.name().to_owned().into(),
        operands: operands.iter().map(|id| operand(id).into()).collect(),
        attributes: attributes.into(),
        fused: is_fused.then(|| Box::new(node.op.clone())),
        fact: node.fact.clone().into(),
        path: Template::plain(&node.path),
        comment: comment(graph, id, options),
    }
}

fn comment(graph: &Graph, id: ValueId, options: &PrintOptions) -> Option<String> {
    let mut parts = Vec::new();
    let cost = if options.costs { graph.cost(id) } else { Cost::default() };
    if cost != Cost::default() {
        parts.push(options.cost(cost, |machine| machine.of_value(graph, id)));
    }
    if let Some(provenance) = graph[id].provenance.as_ref().filter(|_| options.provenance) {
        let from: Vec<_> = provenance.from.iter().map(|name| format!("%{name}")).collect();
        parts.push(format!("<- {} by {}", from.join(", "), provenance.rule));
    }
    (!parts.is_empty()).then(|| parts.join("  "))
}
