//! Graphviz DOT: a cluster per stage and per module, an edge per operand.

use crate::{Graph, Machine, Program, Stage, ValueId, duration};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// The program as Graphviz DOT; render it with `dot -Tsvg`.
///
/// Modules nest as clusters; weights and constants are left out, for they would drown the rest. With a machine, labels say
/// how long stages, modules and ops take on it, and ops are the more orange the longer they take.
pub fn dot(program: &Program, machine: Option<&Machine>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_program(&mut out, program, machine);
    out
}

fn write_program(out: &mut String, program: &Program, machine: Option<&Machine>) -> fmt::Result {
    writeln!(out, "digraph {} {{", quoted(&program.name))?;
    writeln!(out, "  rankdir=TB; compound=true;")?;
    writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=monospace, fontsize=10];"
    )?;
    writeln!(out, "  edge [fontname=monospace, fontsize=8];")?;
    for (stage, graph) in program.stages() {
        Drawing::of(&stage, graph, machine).write(out)?;
    }
    writeln!(out, "}}")
}

/// One stage, and what its ops take.
struct Drawing<'a> {
    stage: String,
    graph: &'a Graph,
    machine: Option<&'a Machine>,
    /// The longest time of an op, in ns.
    longest: u64,
}

impl<'a> Drawing<'a> {
    fn of(stage: &Stage, graph: &'a Graph, machine: Option<&'a Machine>) -> Self {
        let times = machine.map(|machine| graph.ids().map(|id| machine.of_value(graph, id)));
        let longest = times.and_then(Iterator::max).unwrap_or(0);
        Self { stage: stage.to_string(), graph, machine, longest }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let Self { stage, graph, .. } = self;
        let drawn = || graph.order().into_iter().filter(|&id| self.is_drawn(id));
        let mut tree = Module::default();
        for id in drawn() {
            tree.insert(&mut graph[id].path.segments(), id);
        }
        let (id, label) = (quoted(&format!("cluster {stage}")), self.label(stage, tree.ids()));
        writeln!(out, "  subgraph {id} {{ label={label};")?;
        tree.write(out, self, stage, 4)?;
        for output in graph.outputs() {
            let node = quoted(&format!("{stage} -> {}", output.label));
            writeln!(out, "    {node} [label={}, shape=plain];", quoted(&output.label))?;
            writeln!(out, "    {} -> {node};", self.key(output.value))?;
        }
        writeln!(out, "  }}")?;
        for id in drawn() {
            for operand in graph.operands(id).into_iter().filter(|&operand| self.is_drawn(operand)) {
                let label = quoted(&graph[operand].fact.to_string());
                writeln!(out, "  {} -> {} [label={label}];", self.key(operand), self.key(id))?;
            }
        }
        Ok(())
    }

    /// A weight or constant is drawn only where it is an output.
    fn is_drawn(&self, id: ValueId) -> bool {
        !self.graph.is_leaf(id) || self.graph.outputs().iter().any(|output| output.value == id)
    }

    /// The DOT name of a node.
    fn key(&self, id: ValueId) -> String {
        quoted(&format!("{} {}", self.stage, self.graph.operand(id)))
    }

    fn time(&self, machine: &Machine, ids: impl IntoIterator<Item = ValueId>) -> u64 {
        let times = ids.into_iter().map(|id| machine.of_value(self.graph, id));
        times.fold(0, u64::saturating_add)
    }

    /// The label of a cluster: its name, and the time of all that is in it.
    fn label(&self, name: &str, ids: Vec<ValueId>) -> String {
        match self.machine {
            None => quoted(name),
            Some(machine) => quoted(&format!("{name}\n{}", duration(self.time(machine, ids)))),
        }
    }

    /// The attributes of a node.
    fn attributes(&self, id: ValueId) -> String {
        let node = format!("{}\n{}", self.graph.operand(id), self.graph[id].op.name());
        let time = self.machine.map_or(0, |machine| machine.of_value(self.graph, id));
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
    ops: Vec<ValueId>,
    children: BTreeMap<&'a str, Module<'a>>,
}

impl<'a> Module<'a> {
    fn insert(&mut self, path: &mut impl Iterator<Item = &'a str>, id: ValueId) {
        match path.next() {
            Some(segment) => self.children.entry(segment).or_default().insert(path, id),
            None => self.ops.push(id),
        }
    }

    /// Every op of the module and of those in it.
    fn ids(&self) -> Vec<ValueId> {
        self.ops.iter().copied().chain(self.children.values().flat_map(Self::ids)).collect()
    }

    fn write(&self, out: &mut String, drawing: &Drawing, cluster: &str, indent: usize) -> fmt::Result {
        for &id in &self.ops {
            writeln!(out, "{:indent$}{} [{}];", "", drawing.key(id), drawing.attributes(id))?;
        }
        for (name, module) in &self.children {
            let cluster = format!("{cluster}/{name}");
            let (id, label) = (quoted(&format!("cluster {cluster}")), drawing.label(name, module.ids()));
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
