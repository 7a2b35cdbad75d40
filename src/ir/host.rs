//! Tensors in host memory: inputs, results and weights of programs.

use crate::{DType, Fact, QuantizedTensor, WeightRows};

/// A dense row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Little-endian elements, or blocks: [`DType::host_bytes`] of them.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// An `f32` tensor; `values` must hold `shape`'s number of elements.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        Self::new(DType::F32, shape.into(), DType::F32.encode(values))
    }

    /// An `i32` tensor; `values` must hold `shape`'s number of elements.
    pub fn from_i32(shape: impl Into<Vec<usize>>, values: &[i32]) -> Self {
        Self::new(DType::I32, shape.into(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A tensor of the given bytes.
    ///
    /// # Panics
    /// If the length of `bytes` does not match `shape` and `dtype`, or `dtype` is for codes with scales only: a bug of the
    /// caller, not bad input.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Self {
        assert!(!dtype.needs_scales(), "{dtype} stands for nothing without scales");
        let elements: usize = shape.iter().product();
        assert_eq!(bytes.len(), dtype.host_bytes(elements), "{dtype}{shape:?} does not fit its bytes");
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
        self.dtype.decode(&self.bytes)
    }

    /// Whether no element is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        /// So few that they stay in the first cache: a copy of all of a large tensor takes many times as long as looking at it.
        const AT_ONCE: usize = 1024;
        let mut numbers = [0.0; AT_ONCE];
        self.bytes.chunks(self.dtype.host_bytes(AT_ONCE)).all(|bytes| {
            let numbers = &mut numbers[..self.dtype.elements_in(bytes.len())];
            self.dtype.decode_into(bytes, numbers);
            // Without a way out in the middle, this is vector code.
            numbers.iter().fold(true, |all, number| all & number.is_finite())
        })
    }

    /// The tensor with its elements converted to `dtype`, rounding to nearest even.
    ///
    /// # Panics
    /// As [`new`](Self::new), and if `dtype` is a block format.
    pub fn cast(&self, dtype: DType) -> Self {
        if dtype == self.dtype {
            return self.clone();
        }
        Self::new(dtype, self.shape.clone(), dtype.encode(&self.to_f32()))
    }
}

/// Where an executor reads a program's weights from, by diffusers tensor name.
pub trait WeightSource: Send + Sync {
    /// The tensor `name`, which the program reads as `fact`: quantized in exactly that type, or dense in any dtype, which the
    /// executor casts, and quantizes if the program reads codes.
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError>;

    /// The same, not read yet, if this source can make it row by row: then without a copy in memory on the way to a device.
    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let _ = (name, fact);
        Ok(None)
    }
}

/// A source without weights, for programs that read none.
#[derive(Clone, Copy, Debug)]
pub struct NoWeights;

impl WeightSource for NoWeights {
    fn weight(&self, name: &str, _: &Fact) -> Result<WeightData, WeightError> {
        Err(WeightError::Missing(name.to_owned()))
    }
}

/// A weight from a [`WeightSource`].
#[derive(Clone, Debug, PartialEq)]
pub enum WeightData {
    Dense(HostTensor),
    Quantized(QuantizedTensor),
}

impl From<HostTensor> for WeightData {
    fn from(tensor: HostTensor) -> Self {
        Self::Dense(tensor)
    }
}

impl From<QuantizedTensor> for WeightData {
    fn from(tensor: QuantizedTensor) -> Self {
        Self::Quantized(tensor)
    }
}

impl From<&WeightRows<'_>> for WeightData {
    fn from(rows: &WeightRows<'_>) -> Self {
        let (fact, bytes) = (rows.fact().clone(), rows.to_bytes());
        if !fact.is_quantized() {
            return HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes).into();
        }
        let (scales, zeros) = (rows.scales().to_vec(), rows.zeros().to_vec());
        QuantizedTensor { fact, codes: bytes, scales, zeros }.into()
    }
}

/// A weight that could not be read.
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
    fn one_number_that_is_not_finite_is_found_wherever_it_is() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let tensor = |values: &[f32]| HostTensor::from_f32([values.len()], values).cast(dtype);
            let mut values = vec![1.0; 2500];
            assert!(tensor(&values).is_finite());
            for (at, wrong) in
                [(0, f32::NAN), (1023, f32::INFINITY), (1024, f32::NEG_INFINITY), (2499, f32::NAN)]
            {
                values[at] = wrong;
                assert!(!tensor(&values).is_finite(), "{dtype}, {at}");
                values[at] = 1.0;
            }
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
