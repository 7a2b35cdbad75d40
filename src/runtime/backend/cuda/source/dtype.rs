//! The names of element types in kernels, and of their functions in `kernels/rowwise.cuh`.

use super::{Unsupported, unsupported};
use reflux_ir::DType;
use reflux_ir::op::Quantize;

/// The C type of an element; for four-bit types, of two elements.
pub fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I32 => "int",
        DType::I8 => "signed char",
        DType::F8E4M3 => "f8e4m3",
        DType::U4 => "u4x2",
        DType::Block(_) => "unsigned char",
    }
}

/// How many elements of its C type hold this many elements.
pub(super) fn stored(dtype: DType, elements: usize) -> usize {
    dtype.stored_bytes(elements) / dtype.bytes()
}

/// The function that rounds to a dtype and stays f32.
pub(super) fn rounding(dtype: DType) -> Result<&'static str, Unsupported> {
    match dtype {
        DType::F32 => Ok("round_to_f32"),
        DType::BF16 => Ok("round_to_bf16"),
        DType::F16 => Ok("round_to_f16"),
        DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
            unsupported(format!("no kernel rounds to {dtype}"))
        }
    }
}

/// The functor that computes codes for `op`, the divisor of the largest value that gives a scale, and the function that
/// rounds to the scales' dtype.
pub fn encoding(op: &Quantize) -> Result<(String, f32, &'static str), Unsupported> {
    let dtype = op.dtype;
    let code = match dtype {
        DType::I8 => format!("ToI8{{{:?}f}}", op.least()),
        DType::F8E4M3 => "ToF8E4M3{}".to_owned(),
        DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::U4 | DType::Block(_) => {
            return unsupported(format!("no kernel quantizes to {dtype}"));
        }
    };
    Ok((code, op.divisor(), rounding(op.scales.dtype)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::source::PRELUDE;
    use reflux_ir::{Granularity, Scales};

    /// The functions named here exist in the prelude and use the bounds of the table of element types.
    #[test]
    fn the_prelude_has_what_element_types_need() {
        for &dtype in DType::ALL {
            let c_type = c_type(dtype);
            let reads = [format!("float to_float({c_type} x)"), format!("take(float* y, const {c_type}* x)")];
            assert!(reads.iter().any(|read| PRELUDE.contains(read)), "{dtype} cannot be read");
            if let Ok(function) = rounding(dtype) {
                assert!(PRELUDE.contains(&format!("float {function}(float x)")), "{function}");
                assert!(
                    PRELUDE.contains(&format!("from_float({c_type}& y, float x)")),
                    "{dtype} is not written"
                );
            }
            assert_eq!(rounding(dtype).is_ok(), dtype.is_float(), "{dtype}");
            let scales = Scales { per: Granularity::Row, dtype: DType::F32 };
            let op = Quantize { dtype, scales, quant_min: None, eps: 1e-5.into() };
            if let Ok((encoder, divisor, _)) = encoding(&op) {
                let name = encoder.split('{').next().unwrap();
                assert!(PRELUDE.contains(&format!("struct {name} {{\n  typedef {c_type} Code;")), "{name}");
                assert_eq!(f64::from(divisor), (dtype.greatest() - dtype.least()) / 2.0, "{dtype}");
            }
        }
        assert!(PRELUDE.contains(&format!("least), {:.1}f)", DType::I8.greatest())));
        // Four-bit codes are read as the low bits of 2²³, so 2²³ and the middle code are subtracted.
        assert!(PRELUDE.contains(&format!("- {}.0f;", (1 << 23) + u32::from(DType::U4.middle()))));
    }
}
