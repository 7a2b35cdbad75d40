//! Reduction of failing inputs.

use reflux_ir::op::Op;
use reflux_ir::{Graph, GraphBuilder, Name, Patch, Program, Stage, ValueId, verify};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// So many smaller ones are tried at most, and for so long.
const MOST_TRIES: usize = 4_000;
const LONGEST: Duration = Duration::from_secs(60);

/// The smallest text, found by dropping lines, for which `fails` is still true.
pub fn text(text: &str, fails: &dyn Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut size = lines.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < lines.len() {
            let mut fewer = lines.clone();
            fewer.drain(at..(at + size).min(lines.len()));
            if fails(&fewer.join("\n")) { lines = fewer } else { at += size }
        }
        size /= 2;
    }
    lines.join("\n")
}

/// The smallest program and pipeline found for which `fails` is still true.
pub fn case(program: &Program, pipeline: &str, fails: &dyn Fn(&Program, &str) -> bool) -> (Program, String) {
    let (mut program, mut tries, start) = (program.clone(), 0, Instant::now());
    let is_enough = |tries: usize| tries >= MOST_TRIES || start.elapsed() >= LONGEST;
    let mut passes = split(pipeline);
    loop {
        let mut smaller = false;
        for index in (0..passes.len()).rev() {
            let mut fewer = passes.clone();
            fewer.remove(index);
            if !fewer.is_empty() && fails(&program, &fewer.join(",")) {
                (passes, smaller) = (fewer, true);
            }
        }
        let text = passes.join(",");
        for edit in edits(&program) {
            tries += 1;
            let mut edited = program.clone();
            if !is_enough(tries)
                && apply(&mut edited, &edit).is_some()
                && verify(&edited).is_ok()
                && fails(&edited, &text)
            {
                (program, smaller) = (edited, true);
            }
        }
        if !smaller || is_enough(tries) {
            return (program, text);
        }
    }
}

/// The passes of a pipeline's text.
fn split(pipeline: &str) -> Vec<String> {
    let (mut passes, mut depth) = (vec![String::new()], 0);
    for c in pipeline.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                passes.push(String::new());
                continue;
            }
            _ => {}
        }
        passes.last_mut().expect("there is one").push(c);
    }
    passes
}

/// A way to make a program smaller. Values go by their names: ids are another program's.
enum Edit {
    DropVariant(Name),
    OneStepEach,
    DropOutput(Name),
    DropPrepare,
    /// A weight in the place of the value.
    ByWeight(Stage, Name),
    /// An operand of its type in the place of the value.
    ByOperand(Stage, Name, usize),
    WithoutPath(Stage),
}

fn edits(program: &Program) -> Vec<Edit> {
    let mut edits: Vec<Edit> = program.variants.keys().skip(1).cloned().map(Edit::DropVariant).collect();
    edits.extend([Edit::OneStepEach, Edit::DropPrepare]);
    let labels =
        program.stages().flat_map(|(_, graph)| graph.outputs().iter().map(|output| output.label.clone()));
    edits.extend(labels.collect::<Vec<_>>().into_iter().map(Edit::DropOutput));
    for (stage, graph) in program.stages() {
        for id in graph.order().into_iter().rev().filter(|&id| !graph.is_leaf(id)) {
            let name = graph[id].name.clone();
            edits.push(Edit::ByWeight(stage.clone(), name.clone()));
            let count = graph.operands(id).len();
            edits.extend((0..count).map(|at| Edit::ByOperand(stage.clone(), name.clone(), at)));
        }
        edits.push(Edit::WithoutPath(stage));
    }
    edits
}

fn apply(program: &mut Program, edit: &Edit) -> Option<()> {
    match edit {
        Edit::DropVariant(name) => {
            program.variants.get(name)?;
            program.retain_variants(|kept| kept != name);
            program.schedule.retain(|step| step != name);
            program.probes.values_mut().for_each(|choices| choices.retain(|choice| choice != name));
        }
        Edit::OneStepEach => {
            let before = program.schedule.len();
            program.schedule.dedup();
            (program.schedule.len() < before).then_some(())?;
        }
        Edit::DropOutput(label) => {
            program.stages_mut().for_each(|(_, graph)| cut(graph, |patch| patch.drop_output(label.clone())));
            program.carries.retain(|carry| carry.name != *label);
        }
        Edit::DropPrepare => {
            let (rate, _) = program.prepares.first_key_value()?;
            let rate = *rate;
            program.prepares.remove(&rate);
        }
        Edit::ByWeight(stage, name) => {
            let graph = program.graph_mut(stage)?;
            let id = graph.find(name)?;
            let fact = graph[id].fact.clone().at(reflux_ir::Rate::Weights);
            let mut patch = Patch::new(graph, "shrink");
            let weight = patch.weight(&format!("w_{name}").replace('.', "_"), fact).ok()?;
            patch.shunt(id, weight);
            patch.apply().ok()?;
        }
        Edit::ByOperand(stage, name, at) => {
            let graph = program.graph_mut(stage)?;
            let id = graph.find(name)?;
            let operand: ValueId = *graph.operands(id).get(*at)?;
            let mut patch = Patch::new(graph, "shrink");
            patch.shunt(id, operand);
            patch.apply().ok()?;
        }
        Edit::WithoutPath(stage) => {
            let graph = program.graph_mut(stage)?;
            let copy = without_paths(graph)?;
            *graph = copy;
        }
    }
    tidy(program);
    Some(())
}

/// The graph with all ops in the root module.
fn without_paths(graph: &Graph) -> Option<Graph> {
    let mut copy = GraphBuilder::new();
    let mut ids = HashMap::new();
    for &id in graph.inputs() {
        ids.insert(id, copy.input(graph[id].name.clone(), graph[id].fact.clone()).ok()?);
    }
    let mut has_paths = false;
    for id in graph.order() {
        let node = &graph[id];
        let operands: Vec<ValueId> = graph.operands(id).iter().map(|operand| ids[operand]).collect();
        has_paths |= !node.path.is_empty();
        let new = match &node.op {
            Op::Input(_) => ids[&id],
            Op::Weight(weight) => copy.weight(weight.tensor.clone(), node.fact.clone()).ok()?,
            op => copy.add(op.clone(), &operands, node.name.clone(), reflux_ir::ModulePath::root()).ok()?,
        };
        ids.insert(id, new);
    }
    graph.outputs().iter().for_each(|output| copy.output(output.label.clone(), ids[&output.value]));
    has_paths.then(|| copy.finish())
}

/// Drops something of `graph`.
fn cut(graph: &mut Graph, cut: impl FnOnce(&mut Patch)) {
    let mut patch = Patch::new(graph, "shrink");
    cut(&mut patch);
    patch.apply().expect("what nothing reads can be dropped");
}

/// Drops what nothing reads.
fn tidy(program: &mut Program) {
    let read = |program: &Program| -> HashSet<Name> {
        let inputs = program
            .stages()
            .map(|(_, graph)| graph.inputs().iter().map(|&id| graph[id].name.clone()).collect());
        inputs.collect::<Vec<Vec<Name>>>().concat().into_iter().collect()
    };
    for _ in 0..=program.prepares.len() {
        for (_, graph) in program.stages_mut() {
            cut(graph, |patch| {
                patch.remove_unread();
                patch.remove_unread_inputs();
            });
        }
        let read = read(program);
        for graph in program.prepares.values_mut() {
            cut(graph, |patch| patch.retain_outputs(|label| read.contains(label)));
        }
        program.prepares.retain(|_, graph| !graph.outputs().is_empty());
        program.inputs.retain(|input| read.contains(&input.name));
    }
    program.update_rates();
}
