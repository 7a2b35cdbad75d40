//! How much memory running takes, from shapes.

use crate::plan::{Plan, scratch_bytes};
use crate::{Device, cuda};
use reflux_ir::{Fact, Graph, Name, Program, Rate, Stage};
use std::collections::{BTreeMap, HashMap};

/// What running a program takes of a device's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Weights of the steps, those included that are prepared.
    pub weights: u64,
    /// Weights that only prepare stages read.
    pub preparing: u64,
    /// Inputs, prepared and carried values, and where results are made.
    pub values: u64,
    /// The most results that are alive at once inside a step.
    pub step: u64,
    /// The same inside of a prepare stage, whose results are values afterwards.
    pub prepare: u64,
    /// The largest prepare stage with its weights, where these are read only while it runs.
    pub streamed: u64,
}

impl Needs {
    /// The most at once, if all weights stay.
    pub fn resident(&self) -> u64 {
        [self.weights, self.preparing, self.values, self.step.max(self.prepare)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// The most at once, if weights of prepare stages are there only while these run; a step's memory is taken after that.
    pub fn streaming(&self) -> u64 {
        self.weights.saturating_add(self.values).saturating_add(self.step.max(self.streamed))
    }
}

/// What running `program` takes on `device`. On the processor it is a lower bound.
pub fn needs(program: &Program, device: Device) -> Needs {
    let gpu = if device == Device::Cuda { cuda::Gpu::probe() } else { None };
    let memory = gpu.and_then(|_| device.probe().ok()).map_or(0, |info| info.memory);
    let mut needs = Needs::default();
    let mut weights: HashMap<(&str, &Fact), bool> = HashMap::new();
    let mut values: BTreeMap<Name, u64> = BTreeMap::new();
    let mut arena = 0;
    // What `prepare weights` reads is gone when it is done; what it makes are inputs of the other stages.
    for (stage, graph) in program.stages().filter(|(stage, _)| *stage != Stage::Prepare(Rate::Weights)) {
        let is_step = matches!(stage, Stage::Variant(_));
        for (name, fact) in graph.weights() {
            *weights.entry((name, fact)).or_default() |= is_step;
        }
        values.extend(graph.inputs().iter().map(|&id| (graph[id].name.clone(), graph[id].fact.bytes())));
        let inputs: u64 =
            graph.inputs().iter().map(|&id| graph[id].fact.bytes()).fold(0, u64::saturating_add);
        let inside = |plan: Plan| plan.peak_bytes.saturating_sub(inputs);
        // What is larger than the device by itself is not planned for it: its sizes may be absurd.
        let is_planned = |_: &cuda::Gpu| is_step && Plan::new(graph).peak_bytes <= memory;
        match gpu.filter(is_planned).map(|gpu| cuda::plan(graph, gpu)) {
            Some(plan) => {
                // Graphs share what is inside of them; each has its results in two places by turns.
                arena = arena.max(plan.arena as u64 + cuda::WORKSPACE as u64 + crossing(graph, &plan));
                let results = graph.outputs().iter().map(|output| graph[output.value].fact.bytes());
                needs.values += 2 * results.sum::<u64>();
            }
            None if is_step => needs.step = needs.step.max(inside(Plan::new(graph))),
            None => {
                needs.prepare = needs.prepare.max(inside(Plan::new(graph)));
                needs.streamed = needs.streamed.max(inside(Plan::consuming_weights(graph)));
            }
        }
    }
    needs.step = needs.step.max(arena);
    for ((_, fact), is_of_step) in weights {
        let sum = if is_of_step { &mut needs.weights } else { &mut needs.preparing };
        *sum = sum.saturating_add(fact.bytes());
    }
    // Values of the checkpoint alone are weights of another shape.
    needs.values = values.values().fold(needs.values, |sum, bytes| sum.saturating_add(*bytes));
    needs
}

/// The most that burn takes for one of the ops that the engine leaves to it: copies of what it reads, and what it makes.
fn crossing(graph: &Graph, plan: &cuda::Plan) -> u64 {
    let taken = |op: &cuda::Foreign| {
        let operands = graph.operands(op.value).into_iter().zip(&op.operands);
        let copied = operands.filter(|(_, edge)| edge.is_some()).map(|(id, _)| graph[id].fact.bytes());
        let made = [graph[op.value].fact.bytes(), scratch_bytes(&graph[op.value].op, graph, op.value)];
        copied.chain(made).fold(0, u64::saturating_add)
    };
    plan.foreign().map(taken).max().unwrap_or(0)
}
