//! Quantized tensors in host memory.

use crate::{DType, Fact};

/// A quantized tensor in host memory; [`Scales`](crate::Scales) says what its codes mean. Its fields must agree, which is
/// checked by [`check`](Self::check) where the executor gets it from a
/// [`WeightSource`](crate::WeightSource).
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    /// Its type: that of the codes, with scales.
    pub fact: Fact,
    /// Row-major, a byte each: signed integers in two's complement, floats by their bits, `u4` as 0 … 15.
    pub codes: Vec<u8>,
    /// Row-major in [`Scales::grid`](crate::Scales::grid), numbers of the scales' dtype.
    pub scales: Vec<f32>,
    /// As many zero points, of dtypes [that have them](DType::has_zero_points); none of others.
    pub zeros: Vec<f32>,
}

/// Why codes and scales make no quantized tensor of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantizedError {
    #[error("{0} is not the type of a quantized tensor, such as i8.row.bf16[2,3]")]
    Type(Fact),
    #[error("a tensor of type {fact} has {expected} {what}, not {found}")]
    Count { fact: Fact, what: &'static str, expected: usize, found: usize },
    #[error("{code} is not a code of {dtype}")]
    Code { code: u8, dtype: DType },
    #[error("a {what} is not a {dtype} number: round it first")]
    Unrounded { what: &'static str, dtype: DType },
}

impl QuantizedTensor {
    /// Whether codes, scales and zero points are what the type says.
    ///
    /// # Errors
    /// If the type is not quantized, there are more or fewer of anything than it says, a code is none of its dtype, or scales or
    /// zero points are no numbers of theirs.
    pub fn check(&self) -> Result<(), QuantizedError> {
        let Self { fact, codes, scales, zeros } = self;
        let Some(of) = fact.scales.filter(|_| fact.is_well_formed()) else {
            return Err(QuantizedError::Type(fact.clone()));
        };
        let count = of.count(&fact.shape);
        let has_zeros = fact.dtype.has_zero_points();
        for (what, expected, found) in [
            ("codes", fact.shape.elements(), codes.len()),
            ("scales", count, scales.len()),
            ("zero points", if has_zeros { count } else { 0 }, zeros.len()),
        ] {
            if expected != found {
                return Err(QuantizedError::Count { fact: fact.clone(), what, expected, found });
            }
        }
        let (dtype, bits) = (fact.dtype, fact.dtype.bits());
        if bits < 8
            && let Some(&code) = codes.iter().max()
            && code >> bits != 0
        {
            return Err(QuantizedError::Code { code, dtype });
        }
        let is_rounded = |(&x, rounded): (&f32, f32)| x == rounded || x.is_nan();
        for (what, numbers) in [("scale", scales), ("zero point", zeros)] {
            let rounded = of.dtype.decode(&of.dtype.encode(numbers));
            if !numbers.iter().zip(rounded).all(is_rounded) {
                return Err(QuantizedError::Unrounded { what, dtype: of.dtype });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(dtype: DType, scales: &str) -> Fact {
        Fact::new(dtype, [2, 3]).scaled(scales.parse().unwrap())
    }

    #[test]
    fn each_type_has_its_codes_scales_and_zero_points() {
        let make = |fact: &Fact, codes: &[u8], scales: &[f32], zeros: &[f32]| {
            let (codes, scales, zeros) = (codes.to_vec(), scales.to_vec(), zeros.to_vec());
            QuantizedTensor { fact: fact.clone(), codes, scales, zeros }.check()
        };
        let (i8s, u4s) = (fact(DType::I8, "row.f32"), fact(DType::U4, "group2.bf16"));
        assert!(make(&i8s, &[255; 6], &[1.0; 2], &[]).is_ok());
        assert!(make(&u4s, &[15; 6], &[1.0; 4], &[0.5; 4]).is_ok());
        let message = |result: Result<(), QuantizedError>| result.unwrap_err().to_string();
        for (result, expected) in [
            (
                make(&Fact::new(DType::I8, [2, 3]), &[0; 6], &[], &[]),
                "i8[2,3] is not the type of a quantized tensor, such as i8.row.bf16[2,3]",
            ),
            (make(&i8s, &[0; 5], &[1.0; 2], &[]), "a tensor of type i8.row.f32[2,3] has 6 codes, not 5"),
            (make(&i8s, &[0; 6], &[1.0], &[]), "a tensor of type i8.row.f32[2,3] has 2 scales, not 1"),
            (
                make(&i8s, &[0; 6], &[1.0; 2], &[0.0; 2]),
                "a tensor of type i8.row.f32[2,3] has 0 zero points, not 2",
            ),
            (
                make(&u4s, &[0; 6], &[1.0; 4], &[]),
                "a tensor of type u4.group2.bf16[2,3] has 4 zero points, not 0",
            ),
            (make(&u4s, &[0, 16, 0, 0, 0, 0], &[1.0; 4], &[0.0; 4]), "16 is not a code of u4"),
            (make(&u4s, &[0; 6], &[1.001; 4], &[0.0; 4]), "a scale is not a bf16 number: round it first"),
        ] {
            assert_eq!(message(result), expected);
        }
    }
}
