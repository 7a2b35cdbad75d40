//! The elementary functions of formulas, over contiguous memory. Loops have no branches and are inlined, so that they are
//! vectorized in their callers.

use reflux_ir::op::{Binary, Unary};
use std::f64::consts::FRAC_2_PI;

/// Whether [`unary`] computes the function: all but those for which there is no code without branches here.
pub const fn has(function: Unary) -> bool {
    !matches!(function, Unary::Gelu | Unary::Erf | Unary::Log | Unary::Sin | Unary::Cos)
}

/// `y = function(x)`, for the functions that [`has`] allows.
#[inline(always)]
pub fn unary(function: Unary, x: &[f32], y: &mut [f32]) {
    // ½ (1 + tanh u) = σ(2u)
    let scale = (2.0 * FRAC_2_PI.sqrt()) as f32;
    match function {
        Unary::Silu => map(x, y, |x| x * sigmoid(x)),
        Unary::QuickGelu => map(x, y, |x| x * sigmoid(1.702 * x)),
        Unary::Exp => map(x, y, exp_to_the_ends),
        Unary::Tanh => map(x, y, tanh),
        Unary::GeluTanh => map(x, y, |x| x * sigmoid(scale * (x + 0.044_715 * x * x * x))),
        Unary::Sigmoid => map(x, y, sigmoid),
        Unary::Sqrt => map(x, y, f32::sqrt),
        Unary::Gelu | Unary::Erf | Unary::Log | Unary::Sin | Unary::Cos => {
            unreachable!("formulas with these are not taken")
        }
    }
}

/// `y = a · b` and the like.
#[inline(always)]
pub fn binary(op: Binary, a: &[f32], b: &[f32], y: &mut [f32]) {
    match op {
        Binary::Add => zip(a, b, y, |a, b| a + b),
        Binary::Sub => zip(a, b, y, |a, b| a - b),
        Binary::Mul => zip(a, b, y, |a, b| a * b),
        Binary::Div => zip(a, b, y, |a, b| a / b),
        Binary::Equal => zip(a, b, y, |a, b| if a == b { 1.0 } else { 0.0 }),
        Binary::Less => zip(a, b, y, |a, b| if a < b { 1.0 } else { 0.0 }),
        // `f32::min` would return the other operand if one is NaN.
        Binary::Min => zip(a, b, y, |a, b| if a < b || a.is_nan() { a } else { b }),
        Binary::Max => zip(a, b, y, |a, b| if a > b || a.is_nan() { a } else { b }),
        Binary::Pow => zip(a, b, y, f32::powf),
    }
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], function: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = function(x);
    }
}

#[inline(always)]
fn zip(a: &[f32], b: &[f32], y: &mut [f32], function: impl Fn(f32, f32) -> f32) {
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = function(a, b);
    }
}

/// `y = (x − mean) / √(var + eps)`
#[inline(always)]
pub fn standardize(eps: f32, x: &[f32], y: &mut [f32]) {
    let Moments { mean, scale } = Moments::of(eps, x);
    map(x, y, |x| (x - mean) * scale);
}

/// The mean of some values, and the factor that scales their variance to one.
pub struct Moments {
    pub mean: f32,
    pub scale: f32,
}

impl Moments {
    #[inline(always)]
    pub fn of(eps: f32, x: &[f32]) -> Self {
        let mean = sum(x, |x| x) / x.len() as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
        Self { mean, scale: 1.0 / (variance + eps).sqrt() }
    }
}

/// `y = x / √(mean(x²) + eps)`
#[inline(always)]
pub fn divide_by_rms(eps: f32, x: &[f32], y: &mut [f32]) {
    let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
    map(x, y, |x| x * scale);
}

/// Rotates neighbouring pairs of `x` by angles given as cosines and sines, one of each per pair.
#[inline(always)]
pub fn rotate(x: &[f32], cos: &[f32], sin: &[f32], y: &mut [f32]) {
    let pairs = y.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
    for ((y, &[a, b]), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
        *y = [a * cos - b * sin, b * cos + a * sin];
    }
}

/// Replaces the scores `x` by their softmax.
#[inline(always)]
pub fn softmax(x: &mut [f32]) {
    let largest = fold(x, f32::NEG_INFINITY, |x| x, f32::max);
    for x in x.iter_mut() {
        *x = exp(*x - largest);
    }
    let scale = 1.0 / sum(x, |x| x);
    for x in x.iter_mut() {
        *x *= scale;
    }
}

/// The sum of `of` each element, block by block: that of millions, as group norms of large pictures have them, is as exact as
/// that of a block.
#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    const BLOCK: usize = 4096;
    let of_block = |block: &[f32]| fold(block, 0.0, &of, |a, b| a + b);
    if x.len() <= BLOCK {
        of_block(x)
    } else {
        x.chunks(BLOCK).map(|x| f64::from(of_block(x))).sum::<f64>() as f32
    }
}

/// Applies `of` to each element of `x` and reduces the results with `join`, first in vector lanes, then across lanes.
#[inline(always)]
fn fold(x: &[f32], start: f32, of: impl Fn(f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = join(*lane, of(x));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, of(x));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `eˣ` within 2 ulp. Arguments are clamped to −87.3 … 88.7, which makes no difference to a sigmoid.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let (fraction, power) = exp_parts(x.clamp(-87.3, 88.7));
    f32::from_bits(power.wrapping_add(127) << 23) * fraction
}

/// `eˣ` within 2 ulp, from the smallest subnormal number to infinity.
#[inline(always)]
fn exp_to_the_ends(x: f32) -> f32 {
    let (fraction, power) = exp_parts(x.clamp(-104.0, 89.0));
    // Multiplied twice by half of the power: at the ends, the whole power is not an f32.
    let half = (power as i32) >> 1;
    let power_of_two = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
    fraction * power_of_two(half) * power_of_two(power as i32 - half)
}

/// `tanh x` within 3 ulp (Cephes, `tanhf.c`).
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = size * size;
    let mut polynomial = -5.704_988_7e-3;
    for coefficient in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        polynomial = polynomial * square + coefficient;
    }
    let near_zero = polynomial * square * size + size;
    let elsewhere = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    (if size < 0.625 { near_zero } else { elsewhere }).copysign(x)
}

/// `eˣ` divided by the nearest power of two, and the exponent of that power, in two's complement. Without branches, so that
/// loops over it are vectorized (Cephes, `expf.c`). `x` must be small enough for an exponent of 8 bits.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, u32) {
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the lowest bits; a conversion would cost more than the rest.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts, the first with few bits, so that its product is exact.
    let x = x - power * (355.0 / 512.0) + power * 2.121_944_4e-4;
    let mut polynomial = 1.987_569_2e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * x + coefficient;
    }
    let fraction = polynomial * x * x + x + 1.0;
    (fraction, shifted.to_bits().wrapping_sub(ROUND.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for x in (-87_000..88_000).map(|i| i as f32 / 1000.0) {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::EPSILON) * exact;
            assert!((f64::from(exp(x)) - exact).abs() <= 2.0 * ulp, "exp({x})");
            assert!((f64::from(exp_to_the_ends(x)) - exact).abs() <= 2.0 * ulp, "exp({x})");
        }
    }

    /// A group norm of a picture of a million pixels sums that many squares.
    #[test]
    fn moments_of_millions_are_exact() {
        let x: Vec<f32> = (0..1u32 << 22)
            .map(|i| 1.0 + (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0)
            .collect();
        let exact =
            |of: &dyn Fn(f64) -> f64| x.iter().map(|&x| of(f64::from(x))).sum::<f64>() / x.len() as f64;
        let mean = exact(&|x| x);
        let scale = 1.0 / exact(&|x| (x - mean) * (x - mean)).sqrt();
        let found = Moments::of(0.0, &x);
        for (found, exact) in [(found.mean, mean), (found.scale, scale)] {
            assert!((f64::from(found) / exact - 1.0).abs() < 2e-7, "{found}, not {exact}");
        }
    }

    #[test]
    fn exp_has_its_ends() {
        for x in (-110_000..90_000).map(|i| i as f32 / 1000.0) {
            let exact = f64::from(x).exp();
            // Below the smallest normal number, the distance between neighbours is constant.
            let ulp = (f64::from(f32::EPSILON) * exact).max(f64::from(f32::from_bits(1)));
            let found = f64::from(exp_to_the_ends(x));
            let fits =
                (found - exact).abs() <= 2.0 * ulp || (found.is_infinite() && (exact as f32).is_infinite());
            assert!(fits, "exp({x}) is {found}, not {exact}");
        }
        assert_eq!(exp_to_the_ends(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_to_the_ends(f32::INFINITY), f32::INFINITY);
        assert!(exp_to_the_ends(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_within_three_ulp() {
        for x in (-20_000..20_000).map(|i| i as f32 / 1000.0) {
            let exact = f64::from(x).tanh();
            let ulp = f64::from(f32::EPSILON) * exact.abs();
            assert!((f64::from(tanh(x)) - exact).abs() <= 3.0 * ulp, "tanh({x})");
        }
        assert_eq!(
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY].map(|x| tanh(x).to_bits()),
            [0.0, -0.0, 1.0, -1.0f32].map(f32::to_bits)
        );
        assert!(tanh(f32::NAN).is_nan());
    }
}
