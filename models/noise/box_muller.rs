//! The Box-Muller transform in the arithmetic that torch's blocked path uses for each type.

use super::cephes;
use half::bf16;
use std::f64::consts::TAU;
use std::sync::LazyLock;

/// A type that torch draws normals in.
pub(super) trait BoxMuller: Copy {
    /// A uniform in [0, 1) of as many low bits of `word` as the type's significand has.
    fn uniform(word: u32) -> Self;

    /// Two independent standard normals, of two uniforms.
    fn box_muller(u1: Self, u2: Self) -> (Self, Self);

    /// `value` in this type, by way of `f32` as C++ converts it.
    fn from_f64(value: f64) -> Self;
}

impl BoxMuller for f32 {
    fn uniform(word: u32) -> Self {
        (word & 0xff_ffff) as f32 / (1 << f32::MANTISSA_DIGITS) as f32
    }

    fn box_muller(u1: Self, u2: Self) -> (Self, Self) {
        let radius = (-2.0 * cephes::log(1.0 - u1)).sqrt();
        let (sin, cos) = cephes::sin_cos(TAU as f32 * u2);
        // Adding the mean turns a product of -0 into 0.
        (radius * cos + 0.0, radius * sin + 0.0)
    }

    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl BoxMuller for bf16 {
    fn uniform(word: u32) -> Self {
        Self::from_f32((word & 0xff) as f32 / (1 << Self::MANTISSA_DIGITS) as f32)
    }

    fn box_muller(u1: Self, u2: Self) -> (Self, Self) {
        let [u1, u2] = [u1, u2].map(|u| &POLAR[(u.to_f32() * POLAR.len() as f32) as usize]);
        (u1.radius * u2.cos + Self::ZERO, u1.radius * u2.sin + Self::ZERO)
    }

    fn from_f64(value: f64) -> Self {
        Self::from_f32(value as f32)
    }
}

/// What a `bf16` uniform stands for, as the first of a pair and as the second.
struct Polar {
    radius: bf16,
    cos: bf16,
    sin: bf16,
}

/// By the 256 uniforms that there are: functions in double precision would take a tenth of a second for a large picture.
static POLAR: LazyLock<[Polar; 256]> =
    LazyLock::new(|| std::array::from_fn(|word| Polar::of(bf16::uniform(word as u32))));

impl Polar {
    /// Every operation rounds to `bf16`. The functions are evaluated in double precision: none of their 256 arguments comes close to a
    /// rounding boundary, so that any faithful `log`, `sin` and `cos` (torch has single-precision ones) give the same result.
    fn of(u: bf16) -> Self {
        let log = bf16::from_f64((bf16::ONE - u).to_f64().ln());
        let radius = bf16::from_f32((bf16::from_f32(-2.0) * log).to_f32().sqrt());
        let angle = <bf16 as BoxMuller>::from_f64(TAU * u.to_f64()).to_f64();
        Self { radius, cos: bf16::from_f64(angle.cos()), sin: bf16::from_f64(angle.sin()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bf16_argument_depends_on_the_maths_library() {
        // Within this relative distance of a tie two libraries could round differently;
        // single-precision ones are good to 2^-23.
        let margin = 2f64.powi(-20);
        let settled = |value: f64| {
            let round = |scale: f64| bf16::from_f64(value * scale);
            round(1.0 - margin) == round(1.0 + margin)
        };
        for word in 0..256 {
            let u = bf16::uniform(word);
            let angle = <bf16 as BoxMuller>::from_f64(TAU * u.to_f64()).to_f64();
            assert!(settled((bf16::ONE - u).to_f64().ln()), "log of 1 - {u}");
            assert!(settled(angle.sin()), "sin of {angle}");
            assert!(settled(angle.cos()), "cos of {angle}");
        }
    }
}
