//! Graphviz DOT: a cluster per stage and per module, an edge per operand.

use super::fold::{Folded, Group};
use crate::{Graph, Machine, Program, Stage, duration};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// How to draw a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct DotOptions<'m> {
    /// Says how long stages, modules and ops take on it; ops are the more orange the longer they take.
    pub machine: Option<&'m Machine>,
    /// Every iteration of repeated blocks separately: thousands of nodes for a large network, too many for Graphviz.
    pub unrolled: bool,
}

/// The program as Graphviz DOT; render it with `dot -Tsvg`.
///
/// Blocks that print once are drawn once, as `%n.{0..19}`; a dashed edge is what a round reads of the one before. Modules
/// nest as clusters; weights and constants are left out, for they would drown the rest.
pub fn dot(program: &Program, options: DotOptions) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_program(&mut out, program, options);
    out
}

fn write_program(out: &mut String, program: &Program, options: DotOptions) -> fmt::Result {
    writeln!(out, "digraph {} {{", quoted(&program.name))?;
    writeln!(out, "  rankdir=TB; compound=true;")?;
    writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=monospace, fontsize=10];"
    )?;
    writeln!(out, "  edge [fontname=monospace, fontsize=8];")?;
    let drawings: Vec<_> = program
        .stages()
        .map(|(stage, graph)| (Drawing::of(program, &stage, graph, options), stage))
        .collect();
    drawings.iter().try_for_each(|(drawing, _)| drawing.write(out))?;
    for (probe, stage) in &drawings {
        let Some((_, choices)) = stage.probe_of(program) else { continue };
        for (index, choice) in choices.iter().enumerate() {
            let chosen = drawings.iter().find(|(_, stage)| *stage == Stage::Variant(choice.clone()));
            chosen.map_or(Ok(()), |(chosen, _)| probe.write_choice(out, index, chosen))?;
        }
    }
    writeln!(out, "}}")
}

/// One stage, and what its ops take.
struct Drawing<'a> {
    stage: String,
    /// `prepare prompt`, `variant full`, `probe gate`.
    title: String,
    graph: &'a Graph,
    folded: Folded,
    machine: Option<&'a Machine>,
    /// The longest time of a node, in ns.
    longest: u64,
}

impl<'a> Drawing<'a> {
    fn of(program: &Program, stage: &Stage, graph: &'a Graph, options: DotOptions<'a>) -> Self {
        let folded = Folded::of(graph, options.unrolled);
        let probe = stage.probe_of(program).map(|(name, _)| format!("probe {name}"));
        let (stage, machine) = (stage.to_string(), options.machine);
        let title = probe.unwrap_or_else(|| stage.clone());
        let drawing = Self { stage, title, graph, folded, machine, longest: 0 };
        let longest = drawing.folded.groups.iter().map(|group| drawing.time(group)).max().unwrap_or(0);
        Self { longest, ..drawing }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self { stage, title, graph, folded, .. } = self;
        let mut tree = Module::default();
        for group in &folded.groups {
            tree.insert(&mut group.path.iter().map(String::as_str), group);
        }
        let (id, label) = (quoted(&format!("cluster {stage}")), self.label(title, &tree));
        writeln!(out, "  subgraph {id} {{ label={label};")?;
        tree.write(out, self, stage, 4)?;
        for (label, group) in folded.outputs(graph) {
            let node = self.output_key(&label);
            writeln!(out, "    {node} [label={}, shape=plain];", quoted(&label))?;
            writeln!(out, "    {} -> {node};", self.key(&folded.groups[group]))?;
        }
        writeln!(out, "  }}")?;
        for edge in folded.edges(graph) {
            let [from, to] = [edge.from, edge.to].map(|group| &folded.groups[group]);
            let label = quoted(&graph[from.values[0]].fact.to_string());
            let style = if edge.is_carried { ", style=dashed, constraint=false" } else { "" };
            writeln!(out, "  {} -> {} [label={label}{style}];", self.key(from), self.key(to))?;
        }
        Ok(())
    }

    /// Draws that `chosen` runs where the probe gives `index`: an edge to its cluster.
    fn write_choice(&self, out: &mut String, index: usize, chosen: &Self) -> fmt::Result {
        // Graphviz has edges between nodes only, whose ends it can cut off at a cluster.
        let Some(first) = chosen.folded.groups.first() else { return Ok(()) };
        let (from, to) = (self.output_key(Program::CHOICE), chosen.key(first));
        let cluster = quoted(&format!("cluster {}", chosen.stage));
        writeln!(out, "  {from} -> {to} [label=\"{index}\", lhead={cluster}, style=dotted];")
    }

    /// The DOT name of the node of an output.
    fn output_key(&self, label: &str) -> String {
        quoted(&format!("{} -> {label}", self.stage))
    }

    /// The DOT name of a node.
    fn key(&self, group: &Group) -> String {
        quoted(&format!("{} {}", self.stage, group.written))
    }

    /// The time of all rounds.
    fn time(&self, group: &Group) -> u64 {
        let of_value = |machine: &Machine| {
            let times = group.values.iter().map(|&id| machine.of_value(self.graph, id));
            times.fold(0, u64::saturating_add)
        };
        self.machine.map_or(0, of_value)
    }

    /// The label of a cluster: its name, and the time of all that is in it.
    fn label(&self, name: &str, module: &Module) -> String {
        match self.machine {
            None => quoted(name),
            Some(_) => quoted(&format!("{name}\n{}", duration(module.time(self)))),
        }
    }

    /// The attributes of a node.
    fn attributes(&self, group: &Group) -> String {
        let node = format!("{}\n{}", group.written, self.folded.op(self.graph, group).name());
        let time = self.time(group);
        if time == 0 {
            return format!("label={}", quoted(&node));
        }
        let label = quoted(&format!("{node}\n{}", duration(time)));
        format!("label={label}, fillcolor=\"{}\"", shade(time as f64 / self.longest as f64))
    }
}

/// From white to the orange that Model Explorer's gradient ends in, too.
fn shade(share: f64) -> String {
    let channel = |orange: f64| (255.0 + (orange - 255.0) * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", channel(232.0), channel(89.0), channel(12.0))
}

/// A module with the ops that are directly in it.
#[derive(Default)]
struct Module<'a> {
    ops: Vec<&'a Group>,
    children: BTreeMap<&'a str, Module<'a>>,
}

impl<'a> Module<'a> {
    fn insert(&mut self, path: &mut impl Iterator<Item = &'a str>, group: &'a Group) {
        match path.next() {
            Some(segment) => self.children.entry(segment).or_default().insert(path, group),
            None => self.ops.push(group),
        }
    }

    /// That of every op of the module and of those in it.
    fn time(&self, drawing: &Drawing) -> u64 {
        let own = self.ops.iter().map(|group| drawing.time(group));
        own.chain(self.children.values().map(|module| module.time(drawing))).fold(0, u64::saturating_add)
    }

    fn write(&self, out: &mut String, drawing: &Drawing, cluster: &str, indent: usize) -> fmt::Result {
        for group in &self.ops {
            writeln!(out, "{:indent$}{} [{}];", "", drawing.key(group), drawing.attributes(group))?;
        }
        for (name, module) in &self.children {
            let cluster = format!("{cluster}/{name}");
            let (id, label) = (quoted(&format!("cluster {cluster}")), drawing.label(name, module));
            writeln!(out, "{:indent$}subgraph {id} {{ label={label};", "")?;
            module.write(out, drawing, &cluster, indent + 2)?;
            writeln!(out, "{:indent$}}}", "")?;
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
