//! Estimated memory of a run, from shapes.

use crate::Device;
use crate::executor::makes_codes;
use crate::liveness::Liveness;
use reflux_ir::{Fact, Name, Program, Rate, Stage};
use std::collections::{BTreeMap, HashMap};

/// The device memory that running a program takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Weights of the steps, including prepared ones.
    pub weights: u64,
    /// Weights that only prepare stages read.
    pub preparing: u64,
    /// Inputs, prepared and carried values, and space for results.
    pub values: u64,
    /// The most results that are alive at once inside a step.
    pub step: u64,
    /// The same inside of a prepare stage, whose results are values afterwards.
    pub prepare: u64,
    /// The largest prepare stage with its weights, if those are read only while it runs.
    pub streamed: u64,
}

impl Needs {
    /// The peak, if all weights stay.
    pub fn resident(&self) -> u64 {
        [self.weights, self.preparing, self.values, self.step.max(self.prepare)]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// The peak, if weights of prepare stages are loaded only while those run; the memory of a step is allocated after that.
    pub fn streaming(&self) -> u64 {
        self.weights.saturating_add(self.values).saturating_add(self.step.max(self.streamed))
    }
}

/// The memory of `program` on `device`. A lower bound if memory is not planned: [`Device::plans_memory`].
pub fn needs(program: &Program, device: Device) -> Needs {
    let mut needs = Needs::default();
    let mut weights: HashMap<(&str, &Fact), bool> = HashMap::new();
    let mut values: BTreeMap<Name, u64> = BTreeMap::new();
    // What `prepare weights` reads is gone when it is done; what it makes are inputs of the other stages.
    for (stage, graph) in program.stages().filter(|(stage, _)| *stage != Stage::Prepare(Rate::Weights)) {
        let is_step = matches!(stage, Stage::Variant(_));
        for (name, fact) in graph.weights() {
            *weights.entry((name, fact)).or_default() |= is_step;
        }
        values.extend(graph.inputs().iter().map(|&id| (graph[id].name.clone(), graph[id].fact.bytes())));
        let inputs: u64 =
            graph.inputs().iter().map(|&id| graph[id].fact.bytes()).fold(0, u64::saturating_add);
        let inside = |liveness: Liveness| liveness.peak_bytes.saturating_sub(inputs);
        if !is_step {
            needs.streamed = needs.streamed.max(inside(Liveness::consuming_weights(graph)));
        }
        // Prepare stages run as a whole, as steps do, if there are kernels for all their ops.
        let runs_whole = is_step || program.devices().is_none() && !makes_codes(graph);
        let planned = runs_whole.then(|| device.backend().planned_memory(graph)).flatten();
        match planned.filter(|planned| is_step || planned.is_complete) {
            Some(planned) => {
                needs.step = needs.step.max(planned.inside);
                // One of the two buffers for what is prepared is counted as the input that it is.
                needs.values += if is_step { planned.results } else { planned.results / 2 };
            }
            None if is_step => needs.step = needs.step.max(inside(Liveness::new(graph))),
            None => needs.prepare = needs.prepare.max(inside(Liveness::new(graph))),
        }
    }
    for ((_, fact), is_of_step) in weights {
        let sum = if is_of_step { &mut needs.weights } else { &mut needs.preparing };
        *sum = sum.saturating_add(fact.bytes());
    }
    // Values of the checkpoint alone are weights of another shape.
    needs.values = values.values().fold(needs.values, |sum, bytes| sum.saturating_add(*bytes));
    // All ranks of the processor are in one memory.
    let ranks = program.devices().filter(|_| device.is_host()).unwrap_or(1) as u64;
    let Needs { weights, preparing, values, step, prepare, streamed } = &mut needs;
    for bytes in [weights, preparing, values, step, prepare, streamed] {
        *bytes = bytes.saturating_mul(ranks);
    }
    needs
}
