//! Tensors in host memory: what programs take in, give back and read their weights from.

use crate::DType;

/// A dense row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Little-endian elements, `shape.iter().product() * dtype.bytes()` bytes.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// An `f32` tensor; `values` must hold `shape`'s number of elements.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        Self::new(DType::F32, shape.into(), le_bytes(values, f32::to_le_bytes))
    }

    /// An `i32` tensor; `values` must hold `shape`'s number of elements.
    pub fn from_i32(shape: impl Into<Vec<usize>>, values: &[i32]) -> Self {
        Self::new(DType::I32, shape.into(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A tensor of the given bytes.
    ///
    /// # Panics
    /// If `bytes` is not as long as `shape` and `dtype` say, or `dtype` is one of codes only: a bug of the caller, not
    /// bad input.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Self {
        assert!(!dtype.is_code(), "{dtype} stands for nothing without scales");
        let elements: usize = shape.iter().product();
        assert_eq!(bytes.len(), elements * dtype.bytes(), "{dtype}{shape:?} does not fit its bytes");
        Self { dtype, shape, bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements converted to `f32` (exact for every type but `i32` beyond 2²⁴).
    pub fn to_f32(&self) -> Vec<f32> {
        let chunks = self.bytes.chunks_exact(self.dtype.bytes());
        match self.dtype {
            DType::F32 => self.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            DType::I32 => chunks.map(|c| i32::from_le_bytes(c.try_into().unwrap()) as f32).collect(),
            DType::F16 => chunks.map(|c| half::f16::from_le_bytes(c.try_into().unwrap()).to_f32()).collect(),
            DType::BF16 => {
                let halves = self.bytes.as_chunks().0.iter();
                halves.map(|&bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)).collect()
            }
            DType::I8 => self.bytes.iter().map(|&b| f32::from(b as i8)).collect(),
            DType::F8E4M3 | DType::U4 => unreachable!("codes are no host tensors"),
        }
    }

    /// The tensor with its elements converted to `dtype`, rounding to nearest even.
    pub fn cast(&self, dtype: DType) -> Self {
        if dtype == self.dtype {
            return self.clone();
        }
        let values = self.to_f32();
        let bytes = match dtype {
            DType::F32 => le_bytes(&values, f32::to_le_bytes),
            DType::F16 => le_bytes(&values, |v| half::f16::from_f32(v).to_le_bytes()),
            DType::BF16 => le_bytes(&values, |v| nearest_bf16(v).to_le_bytes()),
            DType::I32 => le_bytes(&values, |v| (v.round_ties_even() as i32).to_le_bytes()),
            DType::I8 => le_bytes(&values, |v| (v.round_ties_even() as i8).to_le_bytes()),
            DType::F8E4M3 | DType::U4 => unreachable!("codes are no host tensors"),
        };
        Self::new(dtype, self.shape.clone(), bytes)
    }
}

/// The bits of the bf16 nearest to `x`, of two the even one, as `half` has it; without branches, so that loops over it become
/// vector code.
#[inline(always)]
fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A NaN stays one.
    (if x.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}

/// The bytes that `encode` makes of each value.
fn le_bytes<const N: usize>(values: &[f32], encode: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(place, &value)| *place = encode(value));
    bytes
}

/// Where an executor reads a program's weights from, by diffusers tensor name.
pub trait WeightSource {
    /// The tensor `name` converted to `dtype`.
    fn weight(&self, name: &str, dtype: DType) -> Result<HostTensor, WeightError>;
}

/// A weight that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error("the weights hold no tensor `{0}`")]
    Missing(String),
    #[error("weight `{name}` could not be read: {why}")]
    Unreadable { name: String, why: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_as_half_does() {
        let patterns = (0..=u16::MAX)
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| u32::from(high) << 16 | low));
        for x in patterns.map(f32::from_bits) {
            assert_eq!(nearest_bf16(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
        }
    }

    #[test]
    fn casts_round_to_nearest_even_and_saturate() {
        let values = [0.5, 1.5, -2.5, 300.0, 1.0 + 1.0 / 256.0, -0.0];
        let cases = [
            (DType::I8, [0.0, 2.0, -2.0, 127.0, 1.0, 0.0]),
            (DType::I32, [0.0, 2.0, -2.0, 300.0, 1.0, 0.0]),
            // 1 + 2⁻⁸ lies halfway between two bf16.
            (DType::BF16, [0.5, 1.5, -2.5, 300.0, 1.0, -0.0]),
            (DType::F16, values),
            (DType::F32, values),
        ];
        for (dtype, expected) in cases {
            let cast = HostTensor::from_f32([2, 3], &values).cast(dtype);
            assert_eq!((cast.dtype, cast.bytes.len()), (dtype, 6 * dtype.bytes()));
            assert_eq!(
                cast.to_f32().into_iter().map(f32::to_bits).collect::<Vec<_>>(),
                expected.map(f32::to_bits),
                "{dtype}"
            );
        }
    }
}
