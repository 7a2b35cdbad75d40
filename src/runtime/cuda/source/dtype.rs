//! What kernels' text calls element types, and their functions there, which are in `kernels/rowwise.cuh`.

use super::{Unsupported, unsupported};
use reflux_ir::DType;
use reflux_ir::op::Quantize;

/// The type of C of an element; of four bits, of two of them.
pub fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I32 => "int",
        DType::I8 => "signed char",
        DType::F8E4M3 => "f8e4m3",
        DType::U4 => "u4x2",
    }
}

/// How many things of its type in C so many elements are.
pub(super) fn stored(dtype: DType, elements: usize) -> usize {
    elements * dtype.bits() / (8 * dtype.bytes())
}

/// The function that rounds to a dtype and stays f32.
pub(super) fn rounding(dtype: DType) -> Result<&'static str, Unsupported> {
    match dtype {
        DType::F32 => Ok("round_to_f32"),
        DType::BF16 => Ok("round_to_bf16"),
        DType::F16 => Ok("round_to_f16"),
        DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 => {
            unsupported(format!("numbers are not rounded to {dtype}"))
        }
    }
}

/// What makes codes under `op`, what the largest value is divided by for a scale, and the function that rounds to the scales'
/// dtype.
pub fn encoding(op: &Quantize) -> Result<(String, f32, &'static str), Unsupported> {
    let dtype = op.dtype;
    let code = match dtype {
        DType::I8 => format!("ToI8{{{:?}f}}", op.least()),
        DType::F8E4M3 => "ToF8E4M3{}".to_owned(),
        DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::U4 => {
            return unsupported(format!("{dtype} is not quantized here"));
        }
    };
    Ok((code, op.divisor(), rounding(op.scales.dtype)?))
}
