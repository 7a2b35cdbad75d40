//! Floats of eight bits as bf16, which holds each of their values exactly.

use rayon::prelude::*;
use safetensors::Dtype;

/// The bits of the bf16 that each code stands for.
pub(super) type Codes = [u16; 256];

/// The codes of a type of eight bits that is a float without further factors.
pub(super) fn codes(dtype: Dtype) -> Option<&'static Codes> {
    match dtype {
        Dtype::F8_E4M3 => Some(&E4M3),
        Dtype::F8_E5M2 => Some(&E5M2),
        _ => None,
    }
}

/// OCP's E4M3 (torch's `float8_e4m3fn`), which has no infinities and one NaN of either sign.
static E4M3: Codes = {
    let mut codes = table(3, 7);
    (codes[0x7f], codes[0xff]) = (0x7fc0, 0xffc0);
    codes
};

/// OCP's E5M2, whose highest exponent is that of infinities and NaNs, as IEEE 754 has it.
static E5M2: Codes = {
    let mut codes = table(2, 15);
    let mut mantissa = 0;
    while mantissa < 4 {
        let bits = if mantissa == 0 { 0x7f80 } else { 0x7fc0 };
        (codes[0x7c + mantissa], codes[0xfc + mantissa]) = (bits, bits | 0x8000);
        mantissa += 1;
    }
    codes
};

const fn table(mantissa_bits: u32, bias: u32) -> Codes {
    let mut codes = [0; 256];
    let mut code = 0;
    while code < 256 {
        codes[code] = finite(code as u16, mantissa_bits, bias);
        code += 1;
    }
    codes
}

/// The bf16 of a code with sign, exponent and mantissa, all of which are finite.
const fn finite(code: u16, mantissa_bits: u32, bias: u32) -> u16 {
    const BIAS: u32 = 127;
    const BITS: u32 = 7;
    let sign = (code & 0x80) << 8;
    let exponent = (code & 0x7f) >> mantissa_bits;
    let mantissa = code & ((1 << mantissa_bits) - 1);
    let (exponent, mantissa) = match (exponent, mantissa) {
        (0, 0) => return sign,
        // Below the smallest exponent the first one of the mantissa is written out.
        (0, _) => {
            let top = mantissa.ilog2();
            (BIAS + 1 + top - bias - mantissa_bits, mantissa << (BITS - top))
        }
        _ => (BIAS + exponent as u32 - bias, mantissa << (BITS - mantissa_bits)),
    };
    sign | (exponent as u16) << BITS | mantissa & ((1 << BITS) - 1)
}

/// Writes the little-endian bf16 of each code; `to` has two bytes for each.
pub(super) fn widen(codes: &Codes, from: &[u8], to: &mut [u8], share: usize) {
    to.par_chunks_mut(2 * share).zip(from.par_chunks(share)).for_each(|(to, from)| {
        for (to, &code) in to.as_chunks_mut().0.iter_mut().zip(from) {
            *to = codes[usize::from(code)].to_le_bytes();
        }
    });
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

    fn bf16(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    #[test]
    fn every_code_keeps_its_value() {
        for code in 0..=u8::MAX {
            let [e4m3, e5m2] = [&E4M3, &E5M2].map(|codes| bf16(codes[usize::from(code)]));
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
        assert_eq!((bf16(E4M3[0x7e]), bf16(E5M2[0x7b])), (448.0, 57344.0));
    }

    #[test]
    fn codes_are_widened_in_order() {
        let from: Vec<u8> = (0..=u8::MAX).cycle().take(1000).collect();
        let mut to = vec![0; 2000];
        widen(&E4M3, &from, &mut to, 64);
        for (code, bits) in from.iter().zip(to.as_chunks().0) {
            assert_eq!(u16::from_le_bytes(*bits), E4M3[usize::from(*code)]);
        }
    }
}
