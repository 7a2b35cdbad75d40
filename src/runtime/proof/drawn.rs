//! Random weights and inputs, the same for every run of a case.

use crate::runs::random_inputs;
use reflux_ir::{BlockFormat, DType, Fact, HostTensor, Program, WeightData, WeightError, WeightSource};
use std::collections::HashMap;

/// Makes a source of any number of normal numbers from a seed.
pub type Noise<'n> = &'n dyn Fn(u64) -> Box<dyn FnMut(usize) -> Vec<f32>>;

/// Weights and inputs, rounded to the dtypes of the program that they were drawn for, so that a program in f32 reads the same
/// numbers.
pub struct Drawn {
    weights: HashMap<String, HostTensor>,
    inputs: Vec<(String, HostTensor)>,
}

impl Drawn {
    /// For `program`, from `seed`.
    pub fn new(program: &Program, noise: Noise, seed: u64) -> Self {
        let mut normal = noise(seed);
        let mut draw = |shape: &[usize]| {
            // Products keep the magnitude of their input; biases and factors have the same magnitude, so that leaving one out
            // is noticed.
            let deviation = match shape {
                [_, .., last] => (*last as f32).sqrt().recip(),
                _ => 1.0,
            };
            let values = normal(shape.iter().product());
            let values: Vec<f32> = values.iter().map(|value| value * deviation).collect();
            HostTensor::from_f32(shape, &values)
        };
        let mut weight = |fact: &Fact| {
            let dense = draw(&fact.shape);
            match fact.dtype {
                DType::Block(format) => blocks_of(format, dense),
                _ => dense.cast(fact.unquantized().dtype),
            }
        };
        let weights = program.weights();
        let weights = weights.iter().map(|(name, fact)| ((*name).to_owned(), weight(fact))).collect();
        let mut inputs = random_inputs(program, &[], &mut noise(seed.wrapping_add(1)));
        for (name, value) in &mut inputs {
            let declared = program.inputs.iter().find(|input| *input.name == **name);
            *value = value.cast(declared.map_or(value.dtype, |input| input.fact.dtype));
        }
        Self { weights, inputs }
    }

    /// Those that `program` reads.
    pub fn inputs_of(&self, program: &Program) -> Vec<(String, HostTensor)> {
        let is_read = |name: &str| program.inputs.iter().any(|input| *input.name == *name);
        self.inputs.iter().filter(|(name, _)| is_read(name)).cloned().collect()
    }
}

/// Random blocks in the shape of `dense`, their bytes taken from its numbers.
fn blocks_of(format: BlockFormat, dense: HostTensor) -> HostTensor {
    let mut bytes = dense.bytes.iter().cycle().map(|byte| byte.wrapping_mul(167));
    let count = dense.len() / format.elements();
    let deviation = (dense.shape.last().copied().unwrap_or(1) as f32).sqrt().recip();
    let blocks = format.random(count, deviation, || bytes.next().unwrap_or(0));
    HostTensor::new(DType::Block(format), dense.shape, blocks)
}

impl WeightSource for Drawn {
    fn weight(&self, name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        let weight = self.weights.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(weight.clone().into())
    }
}
