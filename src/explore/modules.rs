//! The modules whose weights a pass could quantize, and what became of each.

use super::Run;
use indexmap::IndexMap;
use reflux_ir::op::Op;
use reflux_ir::pass::Place;
use reflux_ir::{Fact, Graph, ModulePath, Program, ValueId};
use reflux_passes::QUANTIZE;
use serde::Serialize;
use std::collections::HashSet;

/// Modules that are the same but for the number of their block.
#[derive(Debug, Serialize)]
pub struct QuantizedModule {
    /// `blocks.*.attn.to_q`, or the path of the only one.
    module: String,
    count: usize,
    /// The element type and scales that the weights have now; none if they stay as they were.
    scheme: Option<String>,
    before: String,
    after: String,
    /// Of all of them.
    bytes_before: u64,
    bytes_after: u64,
    /// Why they stay.
    why: Option<String>,
}

/// What tells kinds of modules apart: the path, the types before and after, and why the weight stays.
type Kind = (String, Fact, Fact, Option<String>);

/// The linears of the program before the first pass that quantizes, kind by kind; none if there is no such pass.
pub fn of(runs: &[Run], states: &[&Program]) -> Vec<QuantizedModule> {
    let quantizing: Vec<&Run> = runs.iter().filter(|run| run.pass.rules().contains(&QUANTIZE)).collect();
    let (Some(first), Some(last)) = (quantizing.first(), states.last()) else { return Vec::new() };
    let weights = last.weights();
    let mut kinds: IndexMap<Kind, Vec<ModulePath>> = IndexMap::new();
    let mut seen = HashSet::new();
    for (stage, graph) in states[first.before].stages() {
        for (id, tensor, before) in linears(graph) {
            // A linear that several stages run is one.
            if !seen.insert((&graph[id].path, tensor)) {
                continue;
            }
            let after = weights.get(tensor).map_or_else(|| before.clone(), |fact| (*fact).clone());
            let place = Place { program: states[first.before], stage: &stage, graph, value: id };
            let answer = || quantizing.iter().rev().find_map(|run| run.pass.why(&place, QUANTIZE.name));
            let why = (before == after).then(|| answer()?.err()).flatten();
            let path = &graph[id].path;
            let kind = (path.of_any_block(), before, after, why.map(|why| why.reason.into_owned()));
            kinds.entry(kind).or_default().push(path.clone());
        }
    }
    kinds.into_iter().map(|(kind, paths)| QuantizedModule::of(kind, paths)).collect()
}

impl QuantizedModule {
    fn of((open, before, after, why): Kind, paths: Vec<ModulePath>) -> Self {
        let count = paths.len();
        Self {
            module: if let [only] = &paths[..] { only.to_string() } else { open },
            count,
            scheme: (before != after).then(|| after.scheme()),
            bytes_before: before.bytes() * count as u64,
            bytes_after: after.bytes() * count as u64,
            before: before.to_string(),
            after: after.to_string(),
            why,
        }
    }
}

/// The linears of `graph` whose weight is a tensor of the checkpoint, with that.
fn linears(graph: &Graph) -> Vec<(ValueId, &str, Fact)> {
    let linear = |id: ValueId| {
        let Op::Linear(_) = graph[id].op else { return None };
        let weight = graph.operands(id)[1];
        match &graph[weight].op {
            Op::Weight(stored) => Some((id, stored.tensor.as_str(), graph[weight].fact.clone())),
            _ => None,
        }
    };
    graph.order().into_iter().filter_map(linear).collect()
}
