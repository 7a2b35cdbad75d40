//! Runs of whole schedules, and random inputs for them.

use crate::{Execute, RunError};
use reflux_ir::op::Op;
use reflux_ir::{Declaration, HostTensor, Name, Program, ValueId};
use std::collections::HashMap;

/// The results of every step.
pub type StepResults = Vec<HashMap<Name, HostTensor>>;

/// Runs the whole schedule on `inputs`.
///
/// # Errors
/// As [`Execute::bind`] and [`Execute::step`].
pub fn run_steps(
    executor: &mut dyn Execute,
    inputs: &[(String, HostTensor)],
) -> Result<StepResults, RunError> {
    for (name, tensor) in inputs {
        executor.bind(name, tensor)?;
    }
    let steps = 0..executor.program().schedule.len();
    steps.map(|step| executor.step(step)).collect()
}

/// Values for the inputs of `program` that are not `given`: numbers from `normal`, which makes any number of them, for float
/// inputs, and small numbers that count up for others, as tokens of any vocabulary, or as far as the smallest table goes from which
/// they look something up.
pub fn random_inputs(
    program: &Program,
    given: &[(String, HostTensor)],
    normal: &mut dyn FnMut(usize) -> Vec<f32>,
) -> Vec<(String, HostTensor)> {
    let is_given = |input: &Declaration| given.iter().any(|(name, _)| *name == *input.name);
    let wanted =
        program.inputs.iter().filter(|&input| program.step_input() != Some(input) && !is_given(input));
    wanted
        .map(|Declaration { name, fact }| {
            let (shape, elements) = (fact.shape.to_vec(), fact.shape.elements());
            let drawn = if fact.dtype.is_float() {
                HostTensor::from_f32(shape, &normal(elements))
            } else {
                let entries = entries(program, name) as i32;
                HostTensor::from_i32(
                    shape,
                    &(0..elements).map(|index| index as i32 % entries).collect::<Vec<_>>(),
                )
            };
            (name.to_string(), drawn)
        })
        .collect()
}

/// How many entries every table has from which numbers of the input `name` look something up, and 64 if all have more.
fn entries(program: &Program, name: &Name) -> usize {
    let graphs = program.variants.values().chain(program.prepares.values());
    let tables = graphs.flat_map(|graph| {
        let is_own = |id: &ValueId| graph.inputs().contains(id) && graph[*id].name == *name;
        let looked_up = |id: ValueId| {
            let operands = graph.operands(id);
            match graph[id].op {
                Op::Embedding(_) if is_own(&operands[0]) => Some(graph[operands[1]].fact.shape[0]),
                _ => None,
            }
        };
        graph.ids().filter_map(looked_up).collect::<Vec<_>>()
    });
    tables.chain([64]).min().unwrap_or(64).max(1)
}
