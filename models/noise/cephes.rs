//! Single-precision `log`, `sin` and `cos` as torch's AVX2 kernels evaluate them.
//!
//! The polynomials are those of Moshier's Cephes library (`logf.c`, `sinf.c`), by way of Pommier's
//! and Garberoglio's `avx_mathfun`, whose lanes this follows one at a time. Compilers contract
//! each product and sum of that code into a fused multiply-add; `f32::mul_add` fuses on every
//! machine, in hardware or not, so that results do not depend on it.

// The coefficients are written as in the original, to more digits than an f32 holds.
#![allow(clippy::excessive_precision)]

use std::f32::consts::FRAC_1_SQRT_2;

/// Natural logarithm of a normal, positive `x`.
pub(super) fn log(x: f32) -> f32 {
    const MANTISSA: u32 = 0x7f_ffff;
    // ln 2 in two parts, so that the product of the first and an exponent is exact.
    const LN2_LOW: f32 = -2.121_944_40e-4;
    const LN2_HIGH: f32 = 0.693_359_375;
    const P: [f32; 9] = [
        7.037_683_629_2e-2,
        -1.151_461_031_0e-1,
        1.167_699_874_0e-1,
        -1.242_014_084_6e-1,
        1.424_932_278_7e-1,
        -1.666_805_766_5e-1,
        2.000_071_476_5e-1,
        -2.499_999_399_3e-1,
        3.333_333_117_4e-1,
    ];

    // x = mantissa · 2^exponent with mantissa in [√½, √2).
    let bits = x.to_bits();
    let mut exponent = ((bits >> 23) as i32 - 126) as f32;
    let half = f32::from_bits(bits & MANTISSA | 0.5f32.to_bits());
    let mut y = half - 1.0;
    if half < FRAC_1_SQRT_2 {
        exponent -= 1.0;
        y += half;
    }

    let square = y * y;
    // Which product of a sum of two is fused, here and in the cosine, is as GCC chose: the earlier.
    let tail = (polynomial(y, &P) * y).mul_add(square, exponent * LN2_LOW);
    let tail = square.mul_add(-0.5, tail);
    exponent.mul_add(LN2_HIGH, y + tail)
}

/// Sine and cosine of `x`, which must lie in [0, 8192).
pub(super) fn sin_cos(x: f32) -> (f32, f32) {
    const FOUR_OVER_PI: f32 = 1.273_239_544_735_16;
    // -π/4 in three parts, for an exact reduction of the argument.
    const MINUS_QUARTER_PI: [f32; 3] =
        [-0.785_156_25, -2.418_756_484_985_351_6e-4, -3.774_894_977_445_941e-8];
    const SIN: [f32; 3] = [-1.951_529_589_1e-4, 8.332_160_873_6e-3, -1.666_665_461_1e-1];
    const COS: [f32; 3] = [2.443_315_711_809_948e-5, -1.388_731_625_493_765e-3, 4.166_664_568_298_827e-2];

    // The even octant whose boundary is nearest: x = octant · π/4 + y with |y| ≤ π/4.
    let octant = ((x * FOUR_OVER_PI) as i32 + 1) & !1;
    let y = MINUS_QUARTER_PI.iter().fold(x, |y, &part| (octant as f32).mul_add(part, y));

    let square = y * y;
    let cos = polynomial(square, &COS) * square;
    let cos = cos.mul_add(square, square * -0.5) + 1.0;
    let sin = (polynomial(square, &SIN) * square).mul_add(y, y);

    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let negate = |value: f32, yes: bool| if yes { -value } else { value };
    (negate(sin, octant & 4 != 0), negate(cos, (octant - 2) & 4 == 0))
}

/// The polynomial with these coefficients, highest power first, by Horner's rule.
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().fold(0.0, |sum, &c| sum.mul_add(x, c))
}
