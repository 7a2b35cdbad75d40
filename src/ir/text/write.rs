//! A line as text.

use super::ast::{Line, Operand, Spanned, Template};
use super::options::PrintOptions;
use super::range;
use crate::Name;
use std::fmt::Write;

/// Writes the line without its indentation and its end; its module path is written below `base`.
pub(super) fn write_line(out: &mut String, line: &Line, base: &Template, options: &PrintOptions) {
    let formula =
        line.fused.as_ref().and_then(|op| op.formula(&|index| written(&line.operands[index].node, line)));
    let operands = formula.unwrap_or_else(|| operands(line, options));
    let attributes: Vec<_> =
        line.attributes.node.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // Writing to a string cannot fail.
    let _ = write!(out, "%{} = {}", line.name.node, line.op.node);
    if !operands.is_empty() {
        let _ = write!(out, " {operands}");
    }
    if !attributes.is_empty() {
        let _ = write!(out, " {{{}}}", attributes.join(", "));
    }
    let _ = write!(out, " : {}", line.fact.node);
    let path = line.path.relative_to(base);
    if !path.is_empty() {
        let _ = write!(out, " in {path}");
    }
    if let Some(comment) = &line.comment {
        let _ = write!(out, "  // {comment}");
    }
}

/// One operand of `line`.
fn written(operand: &Operand, line: &Line) -> String {
    match operand {
        Operand::Value(name) => format!("%{name}"),
        Operand::Weight { tensor, fact } => {
            let local = Some(tensor.relative_to(&line.path)).filter(|local| !local.is_empty());
            format!("@{} {fact}", local.unwrap_or_else(|| tensor.to_string()))
        }
        Operand::Constant { value, dtype: None } => format!("{:?}", value.0),
        Operand::Constant { value, dtype: Some(dtype) } => format!("{:?} {dtype}", value.0),
    }
}

/// The operands as a list. Values that count up are a range if they are three or more: two read better as they are.
fn operands(line: &Line, options: &PrintOptions) -> String {
    let name = |operand: &Spanned<Operand>| match &operand.node {
        Operand::Value(name) if name.is_plain() => Some(Name::from(name.to_string())),
        _ => None,
    };
    let fold = |a: &Spanned<Operand>, b: &Spanned<Operand>| {
        name(a).zip(name(b)).is_some_and(|(a, b)| options.fold(&a, &b))
    };
    let run = |run: &[Spanned<Operand>]| match name(&run[0]) {
        Some(first) if run.len() > 2 => range::written(&first, run.len()),
        _ => run.iter().map(|operand| written(&operand.node, line)).collect::<Vec<_>>().join(", "),
    };
    line.operands.chunk_by(fold).map(run).collect::<Vec<_>>().join(", ")
}
