//! Random inputs.

use reflux_ir::{HostTensor, Program};
use reflux_models::noise::TorchGenerator;

/// Normal numbers from `seed`, as torch draws them.
pub fn noise(seed: u64) -> Box<dyn FnMut(usize) -> Vec<f32>> {
    let mut generator = TorchGenerator::new(seed);
    Box::new(move |count| generator.randn_f32(count))
}

/// Inputs of `program` that are not `given`, drawn from `seed`; see [`reflux_runtime::random_inputs`].
pub fn random_inputs(
    program: &Program,
    given: &[(String, HostTensor)],
    seed: u64,
) -> Vec<(String, HostTensor)> {
    reflux_runtime::random_inputs(program, given, &mut noise(seed))
}
