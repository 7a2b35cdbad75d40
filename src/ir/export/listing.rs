//! A program as plain data: its text line by line, and its values with what they read and cost, repeated blocks once.

use super::fold::{Folded, Group};
use crate::text::{Part, PrintOptions, Section, Topic, blocks};
use crate::{Graph, Machine, Op, Program, ValueId};
use serde::Serialize;
use std::collections::HashMap;

/// The place of each value in a listing, by the number of its stage.
type Places = HashMap<(usize, ValueId), usize>;

/// A program as it prints, and its values.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// Ops of all stages.
    pub ops: usize,
    /// The estimated time in ns of a picture: all steps, and what runs before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<u64>,
    /// Bytes of all weights, as the program reads them.
    pub weight_bytes: u64,
    /// The variants and the number of steps that run each.
    pub schedule: Vec<(String, usize)>,
    /// The stages, in the order in which they print.
    pub stages: Vec<String>,
    pub lines: Vec<ListedLine>,
    pub values: Vec<ListedValue>,
}

/// A line of text, and the value that it defines, if it does.
#[derive(Clone, Debug, Serialize)]
pub struct ListedLine(pub String, #[serde(skip_serializing_if = "Option::is_none")] pub Option<usize>);

/// A value, or the values of all rounds of a repeated block; these count as one.
#[derive(Clone, Debug, Serialize)]
pub struct ListedValue {
    /// As operands are written, without `%`: `x`, or `h.{0..19}`.
    pub name: String,
    /// That without rounds: `h`.
    #[serde(skip)]
    pub stem: String,
    /// First round and one past the last, of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<(usize, usize)>,
    /// Its stage, in [`Listing::stages`].
    pub stage: usize,
    pub op: &'static str,
    /// The line of its first round.
    pub text: String,
    #[serde(rename = "type")]
    pub fact: String,
    pub dtype: String,
    pub module: String,
    /// The values that it reads, each once; indices of [`Listing::values`], as all below.
    pub operands: Vec<usize>,
    /// Those of them that it reads from the round before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<usize>,
    pub users: Vec<usize>,
    /// The weights that its first round reads, with their types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// The results of the stage that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    pub flops: u64,
    pub bytes: u64,
    #[serde(flatten)]
    pub time: Option<ListedTime>,
    /// The values in the stage's graph, round by round.
    #[serde(skip)]
    pub ids: Vec<ValueId>,
}

/// Estimated times in ns, of all rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ListedTime {
    pub ns: u64,
    /// What computing takes, and what reading and writing takes. The longer of the two decides.
    pub compute_ns: u64,
    pub memory_ns: u64,
}

impl Listing {
    /// Of `program`, with times on `machine`, if one is given.
    pub fn of(program: &Program, machine: Option<&Machine>) -> Self {
        let mut listing = Self {
            ops: program.op_count(),
            ns: machine.map(|machine| machine.of_schedule(program)),
            weight_bytes: program.weights().values().map(|fact| fact.bytes()).sum(),
            schedule: Vec::new(),
            stages: program.stages().map(|(stage, _)| stage.to_string()).collect(),
            lines: Vec::new(),
            values: Vec::new(),
        };
        for name in program.variants.keys() {
            listing.schedule.push((name.to_string(), program.steps_of(name)));
        }
        let mut places = Places::new();
        for (at, (_, graph)) in program.stages().enumerate() {
            listing.add_stage(at, graph, machine, &mut places);
        }
        for section in program.sections(&PrintOptions::default()) {
            listing.add_section(program, section, &places);
        }
        listing
    }

    /// Adds the values of stage `at`, and their places.
    fn add_stage(&mut self, at: usize, graph: &Graph, machine: Option<&Machine>, places: &mut Places) {
        let folded = Folded::of(graph, false);
        let first = self.values.len();
        for group in &folded.groups {
            places.extend(group.values.iter().map(|&id| ((at, id), self.values.len())));
            self.values.push(ListedValue::of(at, graph, group, machine));
        }
        for edge in folded.edges(graph) {
            let (from, to) = (first + edge.from, first + edge.to);
            push_new(&mut self.values[to].operands, from);
            push_new(&mut self.values[from].users, to);
            if edge.is_carried {
                push_new(&mut self.values[to].carried, from);
            }
        }
        for (label, group) in folded.outputs(graph) {
            self.values[first + group].outputs.push(label);
        }
    }

    /// Adds the lines of a section.
    fn add_section(&mut self, program: &Program, section: Section, places: &Places) {
        let of_stage = match &section.part {
            Part::Stage(own) => program.stages().enumerate().find(|(_, (stage, _))| stage == own),
            Part::Declarations | Part::Schedule => None,
        };
        let Some((at, (_, graph))) = of_stage else {
            self.lines.extend(section.lines.into_iter().map(|line| ListedLine(line.text, None)));
            return;
        };
        let mut blocks = blocks(graph).into_iter();
        let mut first_round = None;
        for line in section.lines {
            let value = match &line.about {
                Topic::Repeat(_) => {
                    first_round = blocks.next().map(|block| block.rounds.start);
                    None
                }
                Topic::RepeatEnd(_) => {
                    first_round = None;
                    None
                }
                Topic::Value(name) => {
                    let id = match first_round {
                        Some(round) => graph.find(&format!("{name}.{round}")),
                        None => graph.find(name),
                    };
                    id.and_then(|id| places.get(&(at, id)).copied())
                }
                _ => None,
            };
            self.lines.push(ListedLine(line.text, value));
        }
    }
}

impl ListedValue {
    fn of(stage: usize, graph: &Graph, group: &Group, machine: Option<&Machine>) -> Self {
        let first = group.values[0];
        let node = &graph[first];
        let round = |id: &ValueId| graph[*id].name.split_index().map(|(_, index)| index);
        let rounds = match &group.values[..] {
            [_] => None,
            [start, .., end] => round(start).zip(round(end)).map(|(start, end)| (start, end + 1)),
            [] => None,
        };
        let weights = graph.operands(first).into_iter().filter(|&id| matches!(graph[id].op, Op::Weight(_)));
        let costs = group.values.iter().map(|&id| graph.cost(id));
        let cost: crate::Cost = costs.sum();
        let time = machine.map(|machine| {
            group.values.iter().fold(ListedTime::default(), |sum, &id| {
                let [compute_ns, memory_ns] = machine.sides_of_value(graph, id);
                ListedTime {
                    ns: sum.ns.saturating_add(machine.of_value(graph, id)),
                    compute_ns: sum.compute_ns.saturating_add(compute_ns),
                    memory_ns: sum.memory_ns.saturating_add(memory_ns),
                }
            })
        });
        Self {
            name: group.written.trim_start_matches('%').to_owned(),
            stem: node.name.stem().to_owned(),
            rounds,
            stage,
            op: node.op.name(),
            text: graph.line(first),
            fact: node.fact.to_string(),
            dtype: node.fact.dtype.to_string(),
            module: group.path.join("."),
            operands: Vec::new(),
            carried: Vec::new(),
            users: Vec::new(),
            weights: weights.map(|id| graph.line(id)).collect(),
            outputs: Vec::new(),
            flops: cost.flops,
            bytes: cost.bytes,
            time,
            ids: group.values.clone(),
        }
    }
}

fn push_new(list: &mut Vec<usize>, item: usize) {
    if !list.contains(&item) {
        list.push(item);
    }
}
