//! Graphviz DOT: a cluster per stage and per module, an edge per operand.

use crate::{Graph, Op, Program, ValueId};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The program as Graphviz DOT; render it with `dot -Tsvg`.
///
/// Modules nest as clusters; weights and constants are left out, for they would drown the rest.
pub fn dot(program: &Program) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_program(&mut out, program);
    out
}

fn write_program(out: &mut String, program: &Program) -> std::fmt::Result {
    writeln!(out, "digraph {} {{", quoted(&program.name))?;
    writeln!(out, "  rankdir=TB; compound=true;")?;
    writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=monospace, fontsize=10];"
    )?;
    writeln!(out, "  edge [fontname=monospace, fontsize=8];")?;
    for (stage, graph) in program.stages() {
        let stage = stage.to_string();
        let mut tree = Module::default();
        for id in graph.order().into_iter().filter(|&id| is_drawn(graph, id)) {
            tree.insert(&mut graph[id].path.segments(), id);
        }
        writeln!(out, "  subgraph {} {{ label={};", quoted(&format!("cluster {stage}")), quoted(&stage))?;
        tree.write(out, graph, &stage, &stage, 4)?;
        for output in graph.outputs() {
            let node = quoted(&format!("{stage} -> {}", output.label));
            writeln!(out, "    {node} [label={}, shape=plain];", quoted(&output.label))?;
            writeln!(out, "    {} -> {node};", key(&stage, graph, output.value))?;
        }
        writeln!(out, "  }}")?;
        for id in graph.order().into_iter().filter(|&id| is_drawn(graph, id)) {
            for operand in graph.operands(id).into_iter().filter(|&operand| is_drawn(graph, operand)) {
                let (source, target) = (key(&stage, graph, operand), key(&stage, graph, id));
                let label = quoted(&graph[operand].fact.to_string());
                writeln!(out, "  {source} -> {target} [label={label}];")?;
            }
        }
    }
    writeln!(out, "}}")
}

/// A weight or constant is drawn only where it is an output.
fn is_drawn(graph: &Graph, id: ValueId) -> bool {
    !matches!(graph[id].op, Op::Weight(_) | Op::Constant(_))
        || graph.outputs().iter().any(|output| output.value == id)
}

/// The DOT name of a node.
fn key(stage: &str, graph: &Graph, id: ValueId) -> String {
    quoted(&format!("{stage} {}", graph.operand(id)))
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

    fn write(
        &self,
        out: &mut String,
        graph: &Graph,
        stage: &str,
        cluster: &str,
        indent: usize,
    ) -> std::fmt::Result {
        for &id in &self.ops {
            let label = quoted(&format!("{}\n{}", graph.operand(id), graph[id].op.name()));
            writeln!(out, "{:indent$}{} [label={label}];", "", key(stage, graph, id))?;
        }
        for (name, module) in &self.children {
            let cluster = format!("{cluster}/{name}");
            let id = quoted(&format!("cluster {cluster}"));
            writeln!(out, "{:indent$}subgraph {id} {{ label={};", "", quoted(name))?;
            module.write(out, graph, stage, &cluster, indent + 2)?;
            writeln!(out, "{:indent$}}}", "")?;
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
