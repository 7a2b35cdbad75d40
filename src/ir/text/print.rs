//! Programs into text.

use super::ast::{Line, Operand, Repeat, Statement};
use super::lines::lines;
use super::roll::roll;
use crate::{Declaration, Graph, Program, Stage};
use std::fmt::{self, Write};

/// What to print besides the program itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// FLOP and bytes of each op, as a comment.
    pub costs: bool,
    /// What each rewritten value replaced, as a comment.
    pub provenance: bool,
    /// Every block by itself instead of repeated blocks once.
    pub unrolled: bool,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(&PrintOptions::default()))
    }
}

impl Program {
    /// The program as text.
    pub fn print(&self, options: &PrintOptions) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, options);
        text
    }

    fn write(&self, out: &mut String, options: &PrintOptions) -> fmt::Result {
        writeln!(out, "program {} {{", self.name)?;
        for Declaration { name, fact } in &self.inputs {
            writeln!(out, "  input %{name} : {fact} {}", fact.rate)?;
        }
        for Declaration { name, fact } in &self.carries {
            writeln!(out, "  carry %{name} : {fact} {}", fact.rate)?;
        }
        for (stage, graph) in self.stages() {
            write_graph(out, &stage, graph, options)?;
        }
        writeln!(out, "  schedule{}", run_lengths(&self.schedule))?;
        writeln!(out, "}}")
    }
}

/// `full full reuse` as ` full*2 reuse`.
fn run_lengths(schedule: &[crate::Name]) -> String {
    let runs = schedule.chunk_by(|a, b| a == b);
    runs.map(|run| if run.len() == 1 { format!(" {}", run[0]) } else { format!(" {}*{}", run[0], run.len()) })
        .collect()
}

fn write_graph(out: &mut String, stage: &Stage, graph: &Graph, options: &PrintOptions) -> fmt::Result {
    let inputs: Vec<_> = graph.inputs().iter().map(|&id| graph.operand(id).to_string()).collect();
    let labels: Vec<_> = graph.outputs().iter().map(|output| format!("%{}", output.label)).collect();
    let values: Vec<_> =
        graph.outputs().iter().map(|output| graph.operand(output.value).to_string()).collect();
    writeln!(out, "  {stage} ({}) -> ({}) {{", inputs.join(", "), labels.join(", "))?;
    let lines = lines(graph, options);
    let statements =
        if options.unrolled { lines.into_iter().map(Statement::Line).collect() } else { roll(lines) };
    for statement in &statements {
        match statement {
            Statement::Line(line) => write_indented(out, 4, line),
            Statement::Repeat(repeat) => write_repeat(out, repeat)?,
        }
    }
    writeln!(out, "    return {}", values.join(", "))?;
    writeln!(out, "  }}")
}

fn write_repeat(out: &mut String, repeat: &Repeat) -> fmt::Result {
    write!(out, "    repeat %i in {}..{}", repeat.start, repeat.end)?;
    let carried: Vec<_> = repeat
        .carried
        .iter()
        .map(|carried| format!("%{}.prev = %{}", carried.stem, carried.first.node))
        .collect();
    if !carried.is_empty() {
        write!(out, " ({})", carried.join(", "))?;
    }
    writeln!(out, " {{")?;
    for line in &repeat.body {
        write_indented(out, 6, line);
    }
    let yields: Vec<_> = repeat.carried.iter().map(|carried| format!("%{}", carried.stem)).collect();
    if !yields.is_empty() {
        writeln!(out, "      yield {}", yields.join(", "))?;
    }
    writeln!(out, "    }}")
}

fn write_indented(out: &mut String, indent: usize, line: &Line) {
    out.extend(std::iter::repeat_n(' ', indent));
    write_line(out, line);
    out.push('\n');
}

/// Writes the line without its indentation and its end.
pub(super) fn write_line(out: &mut String, line: &Line) {
    let path = line.path.to_string();
    let operand = |operand: &Operand| match operand {
        Operand::Value(name) => format!("%{name}"),
        Operand::Weight { tensor, fact } => {
            let tensor = tensor.to_string();
            let local = tensor.strip_prefix(&path).filter(|rest| !path.is_empty() && rest.starts_with('.'));
            format!("@{} {fact}", local.unwrap_or(&tensor))
        }
        Operand::Constant { value, dtype: None } => format!("{:?}", value.0),
        Operand::Constant { value, dtype: Some(dtype) } => format!("{:?} {dtype}", value.0),
    };
    let operands: Vec<_> = line.operands.iter().map(|spanned| operand(&spanned.node)).collect();
    let attributes: Vec<_> =
        line.attributes.node.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // Writing to a string cannot fail.
    let _ = write!(out, "%{} = {}", line.name.node, line.op.node);
    if !operands.is_empty() {
        let _ = write!(out, " {}", operands.join(", "));
    }
    if !attributes.is_empty() {
        let _ = write!(out, " {{{}}}", attributes.join(", "));
    }
    let _ = write!(out, " : {}", line.fact.node);
    if !path.is_empty() {
        let _ = write!(out, " in {path}");
    }
    if let Some(comment) = &line.comment {
        let _ = write!(out, "  // {comment}");
    }
}
