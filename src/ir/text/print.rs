//! Programs into text.

use super::ast::{Line, Operand, Repeat, Statement, Template};
use super::lines::lines;
use super::roll::roll;
use crate::{Declaration, Graph, Op, Program, Stage, ValueId};
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
    let value = |id: ValueId| match graph[id].op {
        Op::Weight(_) => format!("{} {}", graph.operand(id), graph[id].fact),
        _ => graph.operand(id).to_string(),
    };
    let values: Vec<_> = graph.outputs().iter().map(|output| value(output.value)).collect();
    writeln!(out, "  {stage} ({}) -> ({}) {{", inputs.join(", "), labels.join(", "))?;
    let lines = lines(graph, options);
    let statements =
        if options.unrolled { lines.into_iter().map(Statement::Line).collect() } else { roll(lines) };
    for statement in &statements {
        match statement {
            Statement::Line(line) => write_indented(out, 4, line, &Template::empty()),
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
    if !repeat.path.0.is_empty() {
        write!(out, " in {}", repeat.path)?;
    }
    writeln!(out, " {{")?;
    for line in &repeat.body {
        write_indented(out, 6, line, &repeat.path);
    }
    let yields: Vec<_> = repeat.carried.iter().map(|carried| format!("%{}", carried.stem)).collect();
    if !yields.is_empty() {
        writeln!(out, "      yield {}", yields.join(", "))?;
    }
    writeln!(out, "    }}")
}

fn write_indented(out: &mut String, indent: usize, line: &Line, base: &Template) {
    out.extend(std::iter::repeat_n(' ', indent));
    write_line(out, line, base);
    out.push('\n');
}

/// Writes the line without its indentation and its end; its module path is written below `base`.
pub(super) fn write_line(out: &mut String, line: &Line, base: &Template) {
    let operand = |operand: &Operand| match operand {
        Operand::Value(name) => format!("%{name}"),
        Operand::Weight { tensor, fact } => {
            let local = Some(tensor.relative_to(&line.path)).filter(|local| !local.is_empty());
            format!("@{} {fact}", local.unwrap_or_else(|| tensor.to_string()))
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
    let path = line.path.relative_to(base);
    if !path.is_empty() {
        let _ = write!(out, " in {path}");
    }
    if let Some(comment) = &line.comment {
        let _ = write!(out, "  // {comment}");
    }
}
