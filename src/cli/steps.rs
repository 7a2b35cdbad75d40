//! What running a program step by step takes.

use super::compare::Results;
use reflux_ir::{Declaration, HostTensor, Program};
use reflux_models::noise::TorchGenerator;
use reflux_runtime::{Execute, RunError};

/// The input that tells a program which step it runs.
pub const STEP: &str = "step";

/// Tells `executor` that `step` comes next, if its program reads which one that is.
pub fn bind_step(executor: &mut dyn Execute, step: usize) -> Result<(), RunError> {
    let counts = executor.program().inputs.iter().any(|input| *input.name == *STEP);
    if counts { executor.bind(STEP, &HostTensor::from_i32([], &[step as i32])) } else { Ok(()) }
}

/// Runs the whole schedule on `inputs`.
pub fn run_steps(executor: &mut dyn Execute, inputs: &[(String, HostTensor)]) -> Result<Results, RunError> {
    for (name, tensor) in inputs {
        executor.bind(name, tensor)?;
    }
    let steps = 0..executor.program().schedule.len();
    let run = |step| {
        bind_step(executor, step)?;
        executor.step(step)
    };
    steps.map(run).collect()
}

/// Noise for every float input of `program` that is not `given`, and small numbers that count up for every other one but the
/// step: tokens of any vocabulary.
pub fn random_inputs(
    program: &Program,
    given: &[(String, HostTensor)],
    seed: u64,
) -> Vec<(String, HostTensor)> {
    let mut generator = TorchGenerator::new(seed);
    let is_given = |input: &Declaration| given.iter().any(|(name, _)| *name == *input.name);
    let wanted = program.inputs.iter().filter(|input| *input.name != *STEP && !is_given(input));
    wanted
        .map(|Declaration { name, fact }| {
            let (shape, elements) = (fact.shape.to_vec(), fact.shape.elements());
            let drawn = if fact.dtype.is_float() {
                HostTensor::from_f32(shape, &generator.randn_f32(elements))
            } else {
                HostTensor::from_i32(shape, &(0..elements).map(|index| index as i32 % 64).collect::<Vec<_>>())
            };
            (name.to_string(), drawn)
        })
        .collect()
}
