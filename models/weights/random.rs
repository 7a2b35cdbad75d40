//! Random weights, to measure the speed of a network without its checkpoint.

use crate::noise::TorchGenerator;
use rayon::prelude::*;
use reflux_ir::{DType, Fact, HostTensor, Program, WeightData, WeightError, WeightSource};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// How many different values there are; tensors read them over and over, each from its own place on.
const POOL: usize = 1 << 20;

/// Bytes by the type and the standard deviation, by its bits, of what they hold.
type Scaled = HashMap<(DType, u32), Arc<Vec<u8>>>;

/// Normally distributed weights for a program: matrices with deviation 1/√(last extent), so that activations keep
/// their size, and vectors with 0.02.
pub struct RandomWeights {
    shapes: HashMap<String, Vec<usize>>,
    pool: Vec<f32>,
    /// The pool as tensors of a type and deviation have it, which many share.
    scaled: Mutex<Scaled>,
}

impl RandomWeights {
    /// The weights of `program` that belong to `seed`.
    pub fn new(program: &Program, seed: u64) -> Self {
        Self::of(program.weights(), seed)
    }

    /// Weights of these names and types.
    pub fn of<'w>(weights: impl IntoIterator<Item = (&'w str, &'w Fact)>, seed: u64) -> Self {
        let shapes = weights.into_iter().map(|(name, fact)| (name.to_owned(), fact.shape.to_vec())).collect();
        Self { shapes, pool: TorchGenerator::new(seed).randn_f32(POOL), scaled: Mutex::default() }
    }

    /// The pool with a standard deviation, in bytes.
    fn scaled(&self, dtype: DType, deviation: f32) -> Arc<Vec<u8>> {
        let mut scaled = self.scaled.lock().expect("nobody panics with it");
        let pool = scaled.entry((dtype, deviation.to_bits())).or_insert_with(|| {
            let values: Vec<f32> = self.pool.iter().map(|value| value * deviation).collect();
            Arc::new(HostTensor::from_f32([POOL], &values).cast(dtype).bytes)
        });
        pool.clone()
    }
}

impl WeightSource for RandomWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let dtype = fact.unquantized().dtype;
        let shape = self.shapes.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let deviation = match shape[..] {
            [.., last] if shape.len() > 1 => (last as f32).sqrt().recip(),
            _ => 0.02,
        };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        if let DType::Block(format) = fact.dtype {
            let mut random = fastrand::Rng::with_seed(hasher.finish());
            let count = shape.iter().product::<usize>() / format.elements();
            let blocks = format.random(count, deviation, || random.u8(..));
            return Ok(HostTensor::new(fact.dtype, shape.clone(), blocks).into());
        }
        let pool = self.scaled(dtype, deviation);
        let (before, after) = pool.split_at(hasher.finish() as usize % POOL * dtype.bytes());
        let mut bytes = vec![0; shape.iter().product::<usize>() * dtype.bytes()];
        bytes.par_chunks_mut(pool.len()).for_each(|part| {
            let (first, rest) = part.split_at_mut(part.len().min(after.len()));
            first.copy_from_slice(&after[..first.len()]);
            rest.copy_from_slice(&before[..rest.len()]);
        });
        Ok(HostTensor::new(dtype, shape.clone(), bytes).into())
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
        let tensor = |name: &str| match weights.weight(name, &Fact::new(DType::BF16, [1536]))? {
            WeightData::Dense(tensor) => Ok(tensor),
            WeightData::Quantized(_) => unreachable!("they are numbers"),
        };
        let long = tensor("long").unwrap();
        let (size, values) = (1536 * 1024, long.to_f32());
        assert_eq!((long.shape, values.len()), (vec![1536, 1024], size));
        assert_eq!(values[..size - POOL], values[POOL..]);
        assert_ne!(values[..1024], values[1024..2048]);
        let deviation = |values: &[f32]| {
            let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            (squares / values.len() as f64).sqrt()
        };
        assert!((deviation(&values) * 32.0 - 1.0).abs() < 0.01);
        let short = tensor("short").unwrap().to_f32();
        assert!((deviation(&short) / 0.02 - 1.0).abs() < 0.1);
        assert!(matches!(tensor("none"), Err(WeightError::Missing(name)) if name == "none"));
    }
}
