//! The 8-bit float of quantized values: a sign, four bits of exponent with bias 7, three of mantissa. There are no
//! infinities, and one NaN per sign (OCP 8-bit floating point specification, `E4M3`; torch's `float8_e4m3fn`).
//!
//! The crate `float8` gives the same numbers and codes, but by branches, so that no loop over it becomes vector code: encoding
//! a weight takes it ten times as long. Of negative NaNs it gives the negative one; GPUs give the positive one, as this does.

/// The largest number.
const MAX: f32 = 448.0;

/// The NaN of positive sign.
const NAN: u8 = 0x7f;

/// What f32's exponent bias is more than this type's, at the place of the exponent in a code.
const BIAS: u32 = (127 - 7) << 3;

/// The least number with a full mantissa; below it codes count steps of 2⁻⁹.
const NORMAL: f32 = 1.0 / 64.0;

/// The code nearest to `x`, of two the even one; beyond ±448 that of ±448. Without branches, so that loops over it
/// become vector code.
#[inline(always)]
pub fn encode(x: f32) -> u8 {
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let size = x.abs().min(MAX);
    // The neighbours of 2¹⁴ are 2⁻⁹ away, so that the sum is rounded to the steps below `NORMAL`.
    const ROUND: f32 = 16_384.0;
    let small = (size + ROUND).to_bits() - ROUND.to_bits();
    let bits = size.to_bits();
    let large = ((bits + 0x7_ffff + (bits >> 20 & 1)) >> 20).wrapping_sub(BIAS);
    let code = if size < NORMAL { small } else { large } as u8;
    if x.is_nan() { NAN } else { code | sign }
}

/// The value of `code`. Without branches, like [`encode`].
#[inline(always)]
pub fn decode(code: u8) -> f32 {
    /// What exponents are less by where bits of this type are read as f32's: 2¹²⁰, for numbers below `NORMAL` too.
    const LESS: f32 = f32::from_bits((127 + 120) << 23);
    let size = u32::from(code & 0x7f);
    let magnitude = f32::from_bits(size << 20) * LESS;
    let magnitude = if size == u32::from(NAN) { f32::NAN } else { magnitude };
    f32::from_bits(magnitude.to_bits() | u32::from(code & 0x80) << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_specification() {
        // Zero, the least number, the largest without and the least with a full mantissa, 1, the largest.
        let table = [
            (0x00, 0.0),
            (0x01, 0.001_953_125),
            (0x07, 0.013_671_875),
            (0x08, 0.015_625),
            (0x38, 1.0),
            (0x7e, MAX),
        ];
        for (code, number) in table {
            assert_eq!((decode(code), decode(code | 0x80)), (number, -number));
        }
        assert!(decode(0x7f).is_nan() && decode(0xff).is_nan());
    }

    #[test]
    fn all_codes_round_trip() {
        for code in (0..=0xff).filter(|code| code & 0x7f != NAN) {
            assert_eq!(encode(decode(code)), code, "{code:#x}");
        }
        assert_eq!(encode(f32::NAN), NAN);
    }

    #[test]
    fn between_two_codes_the_nearer_is_taken_and_halfway_the_even() {
        for code in 0..0x7e {
            let (low, high) = (decode(code), decode(code + 1));
            let middle = (low + high) / 2.0;
            for (x, expected) in [
                (middle, code + (code & 1)),
                (middle.next_down(), code),
                (middle.next_up(), code + 1),
                (low.next_up(), code),
                (high.next_down(), code + 1),
            ] {
                assert_eq!((encode(x), encode(-x)), (expected, expected | 0x80), "{x:e} of {low}…{high}");
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates() {
        for x in [MAX.next_up(), 464.0, 480.0, 1e30, f32::INFINITY] {
            assert_eq!((encode(x), encode(-x)), (0x7e, 0xfe), "{x}");
        }
    }
}
