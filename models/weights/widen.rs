//! Conversion of 8-bit floats to bf16, which represents all of their values exactly.

use half::{bf16, f16};
use reflux_ir::dtype::f8e4m3;
use safetensors::Dtype;
use std::sync::LazyLock;

/// The bits of each code's value in bf16.
pub(super) type CodeTable = [u16; 256];

/// The codes of a type of eight bits that is a float without further factors.
pub(super) fn codes(dtype: Dtype) -> Option<&'static CodeTable> {
    static E4M3: LazyLock<CodeTable> = LazyLock::new(|| table(f8e4m3::decode));
    // OCP's E5M2 is the upper half of an f16.
    static E5M2: LazyLock<CodeTable> =
        LazyLock::new(|| table(|code| f16::from_bits(u16::from(code) << 8).to_f32()));
    match dtype {
        Dtype::F8_E4M3 => Some(&E4M3),
        Dtype::F8_E5M2 => Some(&E5M2),
        _ => None,
    }
}

fn table(decode: impl Fn(u8) -> f32) -> CodeTable {
    std::array::from_fn(|code| bf16::from_f32(decode(code as u8)).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the definition of the formats.
    fn value(code: u8, mantissa_bits: i32, bias: i32) -> f64 {
        let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(code & 0x7f) >> mantissa_bits;
        let fraction = f64::from(code & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(1 - bias),
            _ => (1.0 + fraction) * 2f64.powi(exponent - bias),
        };
        sign * magnitude
    }

    fn number(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    fn tables() -> [&'static CodeTable; 2] {
        [Dtype::F8_E4M3, Dtype::F8_E5M2].map(|dtype| codes(dtype).unwrap())
    }

    #[test]
    fn every_code_keeps_its_value() {
        let [e4m3s, e5m2s] = tables();
        for code in 0..=u8::MAX {
            let [e4m3, e5m2] = [e4m3s, e5m2s].map(|codes| number(codes[usize::from(code)]));
            if code & 0x7f == 0x7f {
                assert!(e4m3.is_nan());
            } else {
                assert_eq!(e4m3.to_bits(), value(code, 3, 7).to_bits(), "{code:#x}");
            }
            match code & 0x7f {
                0x7c => assert_eq!(e5m2, if code < 0x80 { f64::INFINITY } else { f64::NEG_INFINITY }),
                0x7d.. => assert!(e5m2.is_nan()),
                _ => assert_eq!(e5m2.to_bits(), value(code, 2, 15).to_bits(), "{code:#x}"),
            }
        }
        assert_eq!((number(e4m3s[0x7e]), number(e5m2s[0x7b])), (448.0, 57344.0));
    }
}
