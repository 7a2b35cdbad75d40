//! Weights that mean nothing, for measuring how fast a network runs whose checkpoint is not at hand.

use crate::noise::TorchGenerator;
use reflux_ir::{DType, HostTensor, Program, WeightError, WeightSource};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many different values there are; tensors read them over and over, each from its own place on.
const POOL: usize = 1 << 20;

/// Normally distributed weights for a program: matrices with deviation 1/√(last extent), so that activations keep
/// their size, and vectors with 0.02.
pub struct RandomWeights {
    shapes: HashMap<String, Vec<usize>>,
    pool: Vec<f32>,
}

impl RandomWeights {
    /// The weights of `program` that belong to `seed`.
    pub fn new(program: &Program, seed: u64) -> Self {
        let weights = program.weights();
        let shapes = weights.iter().map(|(name, fact)| ((*name).to_owned(), fact.shape.to_vec())).collect();
        Self { shapes, pool: TorchGenerator::new(seed).randn_f32(POOL) }
    }
}

impl WeightSource for RandomWeights {
    fn weight(&self, name: &str, dtype: DType) -> Result<HostTensor, WeightError> {
        let shape = self.shapes.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let deviation = match shape[..] {
            [.., last] if shape.len() > 1 => (last as f32).sqrt().recip(),
            _ => 0.02,
        };
        let values: Vec<f32> = self.pool.iter().map(|value| value * deviation).collect();
        let pool = HostTensor::from_f32([POOL], &values).cast(dtype).bytes;
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let start = (hasher.finish() as usize % POOL) * dtype.bytes();
        let length = shape.iter().product::<usize>() * dtype.bytes();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&pool[start..][..length.min(pool.len() - start)]);
        while bytes.len() < length {
            let rest = pool.len().min(length - bytes.len());
            bytes.extend_from_slice(&pool[..rest]);
        }
        Ok(HostTensor::new(dtype, shape.clone(), bytes))
    }
}
