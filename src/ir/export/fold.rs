//! Folding of drawings: repeated blocks, and inputs and results that count up, are shown once.

use crate::text::{blocks, follows, range_of};
use crate::{Graph, Name, Op, ValueId};
use std::collections::{HashMap, HashSet};

/// A graph with the rounds of its repeated blocks put on top of each other.
pub struct Folded {
    pub groups: Vec<Group>,
    /// The group of each value, and its place in it.
    places: HashMap<ValueId, (usize, usize)>,
}

/// Values that are drawn as one.
pub struct Group {
    /// By round; a value that is not repeated is alone.
    pub values: Vec<ValueId>,
    /// As an operand is written: `%x`, or `%n.{0..19}`.
    pub written: String,
    /// The segments of the module path.
    pub path: Vec<String>,
    /// Which repeated block the group is of.
    block: Option<usize>,
}

/// That the op of one group reads the value of another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    /// Whether it reads what an earlier round of its block made.
    pub is_carried: bool,
}

impl Folded {
    /// `graph`, its blocks once unless it is `unrolled`. A weight or constant is there only where it is a result: they would
    /// drown the rest.
    pub fn of(graph: &Graph, unrolled: bool) -> Self {
        let mut folded = Self { groups: Vec::new(), places: HashMap::new() };
        if !unrolled {
            folded.add_blocks(graph);
            folded.add_inputs(graph);
        }
        let results: HashSet<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
        for id in graph.order().into_iter().filter(|id| !graph.is_leaf(*id) || results.contains(id)) {
            if !folded.places.contains_key(&id) {
                let path = graph[id].path.segments().map(str::to_owned).collect();
                folded.push(Group {
                    values: vec![id],
                    written: graph.operand(id).to_string(),
                    path,
                    block: None,
                });
            }
        }
        // In program order, as the unrolled graph has them.
        let order: HashMap<ValueId, usize> =
            graph.order().into_iter().enumerate().map(|(at, id)| (id, at)).collect();
        folded.groups.sort_by_key(|group| order[&group.values[0]]);
        folded.places.clear();
        for (at, group) in folded.groups.iter().enumerate() {
            let places = group.values.iter().enumerate().map(|(round, &id)| (id, (at, round)));
            folded.places.extend(places);
        }
        folded
    }

    fn add_blocks(&mut self, graph: &Graph) {
        for (number, block) in blocks(graph).into_iter().enumerate() {
            for (stem, path) in block.values {
                let rounds = block.rounds.clone();
                let values = rounds.map(|round| graph.find(&format!("{stem}.{round}")));
                let values = values.collect::<Option<_>>().expect("a block prints values of the graph");
                let written = format!("%{stem}.{{{}..{}}}", block.rounds.start, block.rounds.end);
                self.push(Group { values, written, path, block: Some(number) });
            }
        }
    }

    fn add_inputs(&mut self, graph: &Graph) {
        let alike = |a: &ValueId, b: &ValueId| {
            graph[*a].fact == graph[*b].fact && follows(&graph[*a].name, &graph[*b].name)
        };
        for run in graph.inputs().chunk_by(alike).filter(|run| run.len() > 1) {
            let written = range_of(&graph[run[0]].name, run.len());
            self.push(Group { values: run.to_vec(), written, path: Vec::new(), block: None });
        }
    }

    fn push(&mut self, group: Group) {
        let at = self.groups.len();
        self.places.extend(group.values.iter().enumerate().map(|(round, &id)| (id, (at, round))));
        self.groups.push(group);
    }

    /// What is read from group to group, each once, in program order.
    pub fn edges(&self, graph: &Graph) -> Vec<Edge> {
        let mut seen = HashSet::new();
        let mut edges = Vec::new();
        for (to, group) in self.groups.iter().enumerate() {
            for (round, &id) in group.values.iter().enumerate() {
                for (from, made) in graph.operands(id).iter().filter_map(|operand| self.places.get(operand)) {
                    let is_of_block = group.block.is_some() && self.groups[*from].block == group.block;
                    let edge = Edge { from: *from, to, is_carried: is_of_block && *made != round };
                    if seen.insert(edge) {
                        edges.push(edge);
                    }
                }
            }
        }
        edges
    }

    /// The results: what they are called, and the group of each. Those that count up along a group are one.
    pub fn outputs(&self, graph: &Graph) -> Vec<(String, usize)> {
        let outputs: Vec<(&Name, (usize, usize))> =
            graph.outputs().iter().map(|output| (&output.label, self.places[&output.value])).collect();
        let alike = |a: &(&Name, (usize, usize)), b: &(&Name, (usize, usize))| {
            follows(a.0, b.0) && a.1.0 == b.1.0 && a.1.1 + 1 == b.1.1
        };
        let written = |run: &[(&Name, (usize, usize))]| {
            let label = range_of(run[0].0, run.len());
            (label.trim_start_matches('%').to_owned(), run[0].1.0)
        };
        outputs.chunk_by(alike).map(written).collect()
    }

    /// The op that the values of `group` have in common.
    pub fn op<'g>(&self, graph: &'g Graph, group: &Group) -> &'g Op {
        &graph[group.values[0]].op
    }
}
