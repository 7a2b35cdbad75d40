//! Random weights, to measure the speed of a network without its checkpoint.

use crate::noise::TorchGenerator;
use rayon::prelude::*;
use reflux_ir::{DType, Fact, HostTensor, Program, WeightData, WeightError, WeightSource};
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// How many different values there are; tensors read them over and over, each from its own place on.
const POOL: usize = 1 << 20;

/// How weights are distributed. A GPU needs power for each bit that changes, so on one at its limit times depend on it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Normally: matrices with deviation 1/√(last extent), so that activations keep their size, and vectors with 0.02.
    #[default]
    Normal,
    /// Like those of trained transformers. Matrices have Student's t-distribution with 5 degrees of freedom (Dotzel et al., "Learning
    /// from Students", 2024, find 3 to 7 in most networks), with the same deviation. Of the channels that they write, but for those of
    /// modulations, one in 1024 is 10 times as large as the others, the same one in every layer (Dettmers et al., "LLM.int8()", 2022:
    /// some 0.1 % of channels, up to 20 times). The weights of norms are around 1.
    HeavyTailed,
}

impl Distribution {
    /// The degrees of freedom of heavy tails.
    const FREEDOM: usize = 5;
    /// Of so many channels, the middle one is large, by this factor.
    const CHANNELS: usize = 1024;
    const LARGE: f32 = 10.0;

    /// Numbers with deviation 1.
    fn pool(self, seed: u64) -> Vec<f32> {
        let mut generator = TorchGenerator::new(seed);
        let mut pool = generator.randn_f32(POOL);
        if self == Self::HeavyTailed {
            // A normal number by the root of a mean of squares of others, which has the variance n / (n − 2).
            let others = generator.randn_f32(POOL * Self::FREEDOM);
            for (value, others) in pool.iter_mut().zip(others.chunks(Self::FREEDOM)) {
                let squares: f32 = others.iter().map(|other| other * other).sum();
                *value *= ((Self::FREEDOM - 2) as f32 / squares).sqrt();
            }
        }
        pool
    }

    /// What the numbers of the tensor `name` are made of the pool's by.
    fn affine(self, name: &str, shape: &[usize]) -> Affine {
        let is_norm = self == Self::HeavyTailed && shape.len() == 1 && name.ends_with(".weight");
        let factor = match *shape {
            [.., last] if shape.len() > 1 => (last as f32).sqrt().recip(),
            _ => 0.02,
        };
        Affine { factor, offset: if is_norm { 1.0 } else { 0.0 } }
    }

    /// The rows of the tensor `name` that are large.
    fn large_rows(self, name: &str, shape: &[usize]) -> impl Iterator<Item = usize> + use<> {
        let is_modulation = name.contains("norm");
        let has_some = self == Self::HeavyTailed && shape.len() > 1 && !is_modulation;
        (if has_some { 0..shape[0] } else { 0..0 }).skip(Self::CHANNELS / 2).step_by(Self::CHANNELS)
    }
}

/// `value · factor + offset`
#[derive(Clone, Copy)]
struct Affine {
    factor: f32,
    offset: f32,
}

/// Bytes by the type of what they hold, and by the bits of what it is made of the pool by.
type Scaled = HashMap<(DType, [u32; 2]), Arc<Vec<u8>>>;

/// Random weights for a program.
pub struct RandomWeights {
    shapes: HashMap<String, Vec<usize>>,
    distribution: Distribution,
    pool: Vec<f32>,
    /// The pool as tensors of a type and deviation have it, which many share.
    scaled: Mutex<Scaled>,
}

impl RandomWeights {
    /// The normally distributed weights of `program` that belong to `seed`.
    pub fn new(program: &Program, seed: u64) -> Self {
        Self::of(program.weights(), Distribution::Normal, seed)
    }

    /// Weights of these names and types.
    pub fn of<'w>(
        weights: impl IntoIterator<Item = (&'w str, &'w Fact)>,
        distribution: Distribution,
        seed: u64,
    ) -> Self {
        let shapes = weights.into_iter().map(|(name, fact)| (name.to_owned(), fact.shape.to_vec())).collect();
        Self { shapes, distribution, pool: distribution.pool(seed), scaled: Mutex::default() }
    }

    /// What `affine` makes of the pool, in bytes.
    fn scaled(&self, dtype: DType, Affine { factor, offset }: Affine) -> Arc<Vec<u8>> {
        let mut scaled = self.scaled.lock().expect("nobody panics with it");
        let pool = scaled.entry((dtype, [factor.to_bits(), offset.to_bits()])).or_insert_with(|| {
            let values: Vec<f32> = self.pool.iter().map(|value| value * factor + offset).collect();
            Arc::new(HostTensor::from_f32([POOL], &values).cast(dtype).bytes)
        });
        pool.clone()
    }
}

impl WeightSource for RandomWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let dtype = fact.unquantized().dtype;
        let shape = self.shapes.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let affine = self.distribution.affine(name, shape);
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        if let DType::Block(format) = fact.dtype {
            let mut random = fastrand::Rng::with_seed(hasher.finish());
            let count = shape.iter().product::<usize>() / format.elements();
            let blocks = format.random(count, affine.factor, || random.u8(..));
            return Ok(HostTensor::new(fact.dtype, shape.clone(), blocks).into());
        }
        let first = hasher.finish() as usize % POOL;
        let mut bytes = vec![0; shape.iter().product::<usize>() * dtype.bytes()];
        repeat(&mut bytes, &self.scaled(dtype, affine), first * dtype.bytes());
        for row in self.distribution.large_rows(name, shape) {
            let large = Affine { factor: affine.factor * Distribution::LARGE, ..affine };
            let columns = bytes.len() / shape[0];
            let row = row * columns..(row + 1) * columns;
            let from = (first * dtype.bytes() + row.start) % (POOL * dtype.bytes());
            repeat(&mut bytes[row], &self.scaled(dtype, large), from);
        }
        Ok(HostTensor::new(dtype, shape.clone(), bytes).into())
    }
}

/// Fills `bytes` with `pool`, over and over, from this byte of it on.
fn repeat(bytes: &mut [u8], pool: &[u8], from: usize) {
    let (before, after) = pool.split_at(from);
    bytes.par_chunks_mut(pool.len()).for_each(|part| {
        let (first, rest) = part.split_at_mut(part.len().min(after.len()));
        first.copy_from_slice(&after[..first.len()]);
        rest.copy_from_slice(&before[..rest.len()]);
    });
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

    /// Heavier than normal ones, with the same deviation; some rows are large, and norms are around 1.
    #[test]
    fn trained_weights_have_heavy_tails() {
        let (matrix, norm) = (Fact::new(DType::F32, [2048, 512]), Fact::new(DType::F32, [512]));
        let names = [("ff.weight", &matrix), ("norm1.linear.weight", &matrix), ("attn.norm_q.weight", &norm)];
        let weights = RandomWeights::of(names, Distribution::HeavyTailed, 3);
        let values = |name: &str, fact| match weights.weight(name, fact).unwrap() {
            WeightData::Dense(tensor) => tensor.to_f32(),
            WeightData::Quantized(_) => unreachable!("they are numbers"),
        };
        let moment = |values: &[f32], power: i32| {
            values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / values.len() as f64
        };
        let plain = values("norm1.linear.weight", &matrix);
        assert!((moment(&plain, 2) * 512.0 - 1.0).abs() < 0.02);
        // A normal distribution's is 3.
        assert!(moment(&plain, 4) / moment(&plain, 2).powi(2) > 5.0);
        let with_large = values("ff.weight", &matrix);
        let large: Vec<usize> = (0..2048)
            .filter(|row| moment(&with_large[row * 512..(row + 1) * 512], 2) * 512.0 > 25.0)
            .collect();
        assert_eq!(large, [512, 1536]);
        let gains = values("attn.norm_q.weight", &norm);
        assert!((moment(&gains, 1) - 1.0).abs() < 0.01 && moment(&gains, 2) < 1.01);
    }
}
