//! Weights that mean nothing, for measuring how fast a network runs whose checkpoint is not at hand.

use crate::noise::TorchGenerator;
use rayon::prelude::*;
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
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let start = hasher.finish() as usize % POOL;
        let elements: usize = shape.iter().product();
        let (before, after) = self.pool.split_at(start);
        let read = after.iter().chain(before).take(elements);
        let values: Vec<f32> = read.map(|value| value * deviation).collect();
        // From here on it repeats.
        let period = HostTensor::from_f32([values.len()], &values).cast(dtype).bytes;
        let mut bytes = vec![0; elements * dtype.bytes()];
        bytes
            .par_chunks_mut(period.len().max(1))
            .for_each(|part| part.copy_from_slice(&period[..part.len()]));
        Ok(HostTensor::new(dtype, shape.clone(), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::text::parse;

    /// From one place on, around the pool, with the deviation of its shape.
    #[test]
    fn tensors_read_the_pool_over_and_over() {
        let text = "
            program p {
              input %x : bf16[1,1024] latent
              variant main (%x) -> (%y) {
                %y = linear %x, @long bf16[1536,1024], @short bf16[1536] : bf16[1,1536]
                return %y
              }
              schedule main
            }";
        let weights = RandomWeights::new(&parse(text).unwrap_or_else(|error| panic!("{error}")), 3);
        let long = weights.weight("long", DType::BF16).unwrap();
        let (size, values) = (1536 * 1024, long.to_f32());
        assert_eq!((long.shape, values.len()), (vec![1536, 1024], size));
        assert_eq!(values[..size - POOL], values[POOL..]);
        assert_ne!(values[..1024], values[1024..2048]);
        let deviation = |values: &[f32]| {
            let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            (squares / values.len() as f64).sqrt()
        };
        assert!((deviation(&values) * 32.0 - 1.0).abs() < 0.01);
        let short = weights.weight("short", DType::BF16).unwrap().to_f32();
        assert!((deviation(&short) / 0.02 - 1.0).abs() < 0.1);
        assert!(weights.weight("none", DType::BF16).is_err());
    }
}
