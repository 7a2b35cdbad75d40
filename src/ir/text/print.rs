//! The printer: programs to text.

use super::ast::{Line, Repeat, Statement, Template};
use super::lines::lines;
use super::options::PrintOptions;
use super::printed::{Part, Section, Topic};
use super::range;
use super::roll::roll;
use super::write::write_line;
use crate::{Declaration, Graph, Name, Op, Program, Stage, ValueId, duration};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(&PrintOptions::default()))
    }
}

impl Program {
    /// The program as text.
    pub fn print(&self, options: &PrintOptions) -> String {
        let lines = self.sections(options).into_iter().flat_map(|section| section.lines);
        lines.map(|line| line.text + "\n").collect()
    }

    /// The lines of that text, part by part.
    pub(crate) fn sections(&self, options: &PrintOptions) -> Vec<Section> {
        let mut declared = Section::new(Part::Declarations);
        declared.push(Topic::Program, format!("program {} {{", self.name));
        declare(&mut declared, "input", Topic::Input, &self.inputs, options);
        declare(&mut declared, "carry", Topic::Carry, &self.carries, options);
        let mut schedule = Section::new(Part::Schedule);
        let time = options.machine.filter(|_| options.costs).map(|machine| {
            let most = if self.has_choices() { "at most " } else { "" };
            format!("  // {most}{} on {}", duration(machine.of_schedule(self)), machine.name)
        });
        let steps = run_lengths(&self.schedule);
        schedule.push(Topic::Schedule, format!("  schedule{steps}{}", time.unwrap_or_default()));
        schedule.push(Topic::ProgramEnd, "}");
        let stages = self.stages().map(|(stage, graph)| section(self, stage, graph, options));
        std::iter::once(declared).chain(stages).chain([schedule]).collect()
    }
}

fn declare(
    out: &mut Section,
    keyword: &str,
    about: fn(Name) -> Topic,
    declarations: &[Declaration],
    options: &PrintOptions,
) {
    let agree = |a: &Declaration, b: &Declaration| a.fact == b.fact && options.fold(&a.name, &b.name);
    for run in declarations.chunk_by(agree) {
        let Declaration { name, fact } = &run[0];
        let names = range::written(name, run.len());
        out.push(about(name.clone()), format!("  {keyword} {names} : {fact} {}", fact.rate));
    }
}

/// `full full reuse` as ` full*2 reuse`.
fn run_lengths(schedule: &[Name]) -> String {
    let runs = schedule.chunk_by(|a, b| a == b);
    runs.map(|run| if run.len() == 1 { format!(" {}", run[0]) } else { format!(" {}*{}", run[0], run.len()) })
        .collect()
}

fn section(program: &Program, stage: Stage, graph: &Graph, options: &PrintOptions) -> Section {
    let mut out = Section::new(Part::Stage(stage.clone()));
    out.push(Topic::Signature, signature(program, &stage, graph, options));
    let lines = lines(graph, options);
    let statements =
        if options.unrolled { lines.into_iter().map(Statement::Line).collect() } else { roll(lines) };
    for statement in &statements {
        match (statement, options.blocks) {
            (Statement::Line(line), _) => push_line(&mut out, 4, line, &Template::empty(), options),
            (Statement::Repeat(repeat), None) => push_repeat(&mut out, repeat, options),
            (Statement::Repeat(repeat), Some(blocks)) => push_first(&mut out, repeat, blocks, options),
        }
    }
    if options.costs {
        out.push(Topic::Total, total(program, &stage, graph, options));
    }
    out.push(Topic::Return, format!("    return {}", results(graph, options)));
    out.push(Topic::End, "  }");
    out
}

/// The first line of a stage: what it reads and gives, and if it is a probe, what it chooses among.
fn signature(program: &Program, stage: &Stage, graph: &Graph, options: &PrintOptions) -> String {
    let inputs: Vec<_> = graph.inputs().iter().map(|&id| &graph[id].name).collect();
    let labels: Vec<_> = graph.outputs().iter().map(|output| &output.label).collect();
    let wires = format!("({}) -> ({})", names(&inputs, options), names(&labels, options));
    match stage.probe_of(program) {
        Some((name, choices)) => format!("  probe {name} {wires} chooses {} {{", choices.join(", ")),
        None => format!("  {stage} {wires} {{"),
    }
}

/// What a stage costs, and if it is a probe, a step with it.
fn total(program: &Program, stage: &Stage, graph: &Graph, options: &PrintOptions) -> String {
    let own = options.cost(graph.total_cost(), |machine| machine.of_graph(graph));
    let step = stage.probe_of(program).map(|(name, _)| {
        let cost = options.cost(program.step_cost(name), |machine| machine.of_step(program, name));
        format!("; with what it chooses, at most: {cost}")
    });
    format!("    // total: {own}{}", step.unwrap_or_default())
}

/// The names as a list, those that count up as ranges: `%x, %attn.{0..19}`.
fn names(names: &[&Name], options: &PrintOptions) -> String {
    let runs = names.chunk_by(|a, b| options.fold(a, b));
    runs.map(|run| range::written(run[0], run.len())).collect::<Vec<_>>().join(", ")
}

/// What the graph returns; only values fold, as each weight has its type behind it.
fn results(graph: &Graph, options: &PrintOptions) -> String {
    let values: Vec<_> = graph.outputs().iter().map(|output| output.value).collect();
    let fold = |a: ValueId, b: ValueId| {
        !graph.is_leaf(a) && !graph.is_leaf(b) && options.fold(&graph[a].name, &graph[b].name)
    };
    let written = |run: &[ValueId]| match graph[run[0]].op {
        Op::Weight(_) => format!("{} {}", graph.operand(run[0]), graph[run[0]].fact),
        Op::Constant(_) => graph.operand(run[0]).to_string(),
        _ => range::written(&graph[run[0]].name, run.len()),
    };
    values.chunk_by(|&a, &b| fold(a, b)).map(written).collect::<Vec<_>>().join(", ")
}

/// The first `blocks` blocks of `repeat`, and how many are left out.
fn push_first(out: &mut Section, repeat: &Repeat, blocks: usize, options: &PrintOptions) {
    let shown = repeat.start..repeat.end.min(repeat.start.saturating_add_unsigned(blocks as u64));
    let end = shown.end;
    for round in shown.filter_map(|index| repeat.round(index)) {
        round.iter().for_each(|line| push_line(out, 4, line, &Template::empty(), options));
    }
    if end < repeat.end {
        let module = repeat.path.to_string();
        let (left, place) =
            (repeat.end - end, if module.is_empty() { String::new() } else { format!(" of {module}") });
        let blocks = if left == 1 { "block" } else { "blocks" };
        let text = format!("    // … {left} more {blocks}{place}, {end} to {}", repeat.end - 1);
        out.push(Topic::Repeat(module), text);
    }
}

fn push_repeat(out: &mut Section, repeat: &Repeat, options: &PrintOptions) {
    let module = repeat.path.to_string();
    let mut header = format!("    repeat %i in {}..{}", repeat.start, repeat.end);
    let carried: Vec<_> = repeat
        .carried
        .iter()
        .map(|carried| format!("%{}.prev = %{}", carried.stem, carried.first.node))
        .collect();
    if !carried.is_empty() {
        header += &format!(" ({})", carried.join(", "));
    }
    if !module.is_empty() {
        header += &format!(" in {module}");
    }
    out.push(Topic::Repeat(module.clone()), header + " {");
    for line in &repeat.body {
        push_line(out, 6, line, &repeat.path, options);
    }
    let yields: Vec<_> = repeat.carried.iter().map(|carried| format!("%{}", carried.stem)).collect();
    if !yields.is_empty() {
        out.push(Topic::Yield(module.clone()), format!("      yield {}", yields.join(", ")));
    }
    out.push(Topic::RepeatEnd(module), "    }");
}

fn push_line(out: &mut Section, indent: usize, line: &Line, base: &Template, options: &PrintOptions) {
    let mut text = " ".repeat(indent);
    write_line(&mut text, line, base, options);
    out.push(Topic::Value(line.name.node.to_string().into()), text);
}
