//! Runs of whole schedules, and random inputs for them.

use crate::{Execute, RunError};
use reflux_ir::{Declaration, HostTensor, Name, Program};
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
/// inputs, and small numbers that count up for others, as tokens of any vocabulary.
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
                HostTensor::from_i32(shape, &(0..elements).map(|index| index as i32 % 64).collect::<Vec<_>>())
            };
            (name.to_string(), drawn)
        })
        .collect()
}
