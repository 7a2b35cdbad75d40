//! Forecasts of a value from those that were computed, as weights that are known before the first step.
//!
//! When it is known which steps compute, every forecast that is linear in the computed values is a sum of the last few of
//! these, each times a number that depends on the step alone.

use super::equations::{solved, squared};
use super::options::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The series by differences of TaylorSeer (arXiv 2503.06923; diffusers, `hooks/taylorseer_cache.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Taylor {
    /// The order of the series: how many differences of computed values are used (0 to 3).
    pub order: usize,
}

impl Options for Taylor {
    fn check(&self) -> Result<(), String> {
        check_order(self.order)
    }
}

impl Taylor {
    /// `Σᵢ Δⁱ kⁱ / i!`, `k` steps after the last computed one.
    pub fn weights(&self, computed: &[usize], step: usize) -> Vec<f64> {
        let terms = (0..=self.order as u32).scan(1.0, |factorial, i| {
            *factorial *= f64::from(i.max(1));
            Some((i, *factorial))
        });
        let terms: Vec<_> = terms.collect();
        of_differences(computed, step, |k| {
            terms.iter().map(|&(i, factorial)| k.powi(i as i32) / factorial).collect()
        })
    }
}

/// The same differences as TaylorSeer's, weighted by scaled Hermite polynomials, which grow less over several steps (HiCache, arXiv
/// 2508.16984).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hermite {
    /// The order of the series: how many differences of computed values are used (0 to 3).
    pub order: usize,
    /// The scale σ of the polynomials (above 0, at most 2).
    pub scale: f64,
}

impl Options for Hermite {
    fn check(&self) -> Result<(), String> {
        check_order(self.order)?;
        let is_sensible = self.scale > 0.0 && self.scale <= 2.0;
        is_sensible
            .then_some(())
            .ok_or_else(|| format!("scale must be above 0 and at most 2, not {:?}", self.scale))
    }
}

impl Hermite {
    /// `Δ⁰ + Σᵢ Δⁱ Hᵢ(σk) σⁱ / i!` with `i` from 1, `k` steps after the last computed one. `Hᵢ` are the physicists' polynomials:
    /// `H₀ = 1`, `H₁ = 2x`, `Hᵢ₊₁ = 2x Hᵢ − 2i Hᵢ₋₁`.
    pub fn weights(&self, computed: &[usize], step: usize) -> Vec<f64> {
        of_differences(computed, step, |k| {
            let x = self.scale * k;
            let mut coefficients = vec![1.0];
            let (mut before, mut hermite, mut scale) = (1.0, 2.0 * x, 1.0);
            for i in 1..=self.order {
                scale *= self.scale / i as f64;
                coefficients.push(hermite * scale);
                (before, hermite) = (hermite, 2.0 * x * hermite - 2.0 * i as f64 * before);
            }
            coefficients
        })
    }
}

/// A curve of Chebyshev polynomials through all that was computed, fitted by ridge regression (Spectrum, arXiv 2603.01623; its
/// code's `basis_utils.py`). The code takes 50 steps for granted; here it is as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chebyshev {
    /// The degree of the highest polynomial (1 to 8).
    pub degree: usize,
    /// How strongly large coefficients are avoided: λ of the ridge regression (above 0, at most 10).
    pub ridge: f64,
    /// The part of the curve in the forecast; the rest is the straight line through the last two values (0 to 1).
    pub blend: f64,
    /// Use at most this many of the last computed values, which are all carried (2 to 100).
    pub history: usize,
}

impl Options for Chebyshev {
    fn check(&self) -> Result<(), String> {
        let Self { degree, ridge, blend, history } = self;
        match () {
            () if !(1..=8).contains(degree) => Err(format!("degree must be 1 to 8, not {degree}")),
            () if !(*ridge > 0.0 && *ridge <= 10.0) => {
                Err(format!("ridge must be above 0 and at most 10, not {ridge:?}"))
            }
            () if !(0.0..=1.0).contains(blend) => {
                Err(format!("blend must be between 0 and 1, not {blend:?}"))
            }
            () if !(2..=100).contains(history) => Err(format!("history must be 2 to 100, not {history}")),
            () => Ok(()),
        }
    }
}

impl Chebyshev {
    /// `w · t(τ)ᵀ (XᵀX + λI)⁻¹ Xᵀ + (1 − w) · line`, where the rows of `X` are `t(τ) = (T₀(τ), T₁(τ), …)` at the computed steps,
    /// and `τ = 2 · step / steps − 1`.
    pub fn weights(&self, computed: &[usize], step: usize, steps: usize) -> Vec<f64> {
        let known = &computed[computed.len().saturating_sub(self.history)..];
        let row = |step: usize| self.polynomials(2.0 * step as f64 / steps as f64 - 1.0);
        let rows: Vec<Vec<f64>> = known.iter().map(|&step| row(step)).collect();
        let mut normal = squared(&rows);
        normal.iter_mut().enumerate().for_each(|(i, equation)| equation[i] += self.ridge);
        let curve = solved(normal, row(step));
        let line = Taylor { order: 1 }.weights(known, step);
        let of_curve = |row: &Vec<f64>| row.iter().zip(&curve).map(|(x, c)| x * c).sum::<f64>();
        let blended = rows.iter().rev().zip(line);
        blended.map(|(row, line)| self.blend * of_curve(row) + (1.0 - self.blend) * line).collect()
    }

    /// `T₀(τ) = 1`, `T₁(τ) = τ`, `Tᵢ₊₁(τ) = 2τ Tᵢ(τ) − Tᵢ₋₁(τ)`.
    fn polynomials(&self, tau: f64) -> Vec<f64> {
        let next = |&(before, now): &(f64, f64)| Some((now, 2.0 * tau * now - before));
        std::iter::successors(Some((1.0, tau)), next).map(|(now, _)| now).take(self.degree + 1).collect()
    }
}

fn check_order(order: usize) -> Result<(), String> {
    match order {
        0..=3 => Ok(()),
        _ => Err(format!("order must be 0 to 3, not {order}")),
    }
}

/// The weights of `Σᵢ cᵢ Δⁱ`, newest value first, where `coefficients` gives `cᵢ` for the number of steps since the last computed
/// one. Of a value that is computed `g` steps after the one before, `Δ⁰` is the value, and `Δⁱ⁺¹` is by how much `Δⁱ` has
/// grown since then, divided by `g`; what would need values from before the first has no term.
fn of_differences(computed: &[usize], step: usize, coefficients: impl Fn(f64) -> Vec<f64>) -> Vec<f64> {
    let last = *computed.last().expect("the first step computes");
    let coefficients = coefficients((step - last) as f64);
    // Newest last while they are built. `differences[i]` has the weights of Δⁱ, at the step reached so far.
    let mut differences: Vec<Vec<f64>> = Vec::new();
    for (at, &now) in computed.iter().enumerate() {
        let mut newer = vec![vec![0.0; computed.len()]];
        newer[0][at] = 1.0;
        if let Some(before) = at.checked_sub(1).map(|before| computed[before]) {
            for older in differences.iter().take(coefficients.len() - 1) {
                let grown = newer.last().expect("it has Δ⁰").iter().zip(older);
                newer.push(grown.map(|(newer, older)| (newer - older) / (now - before) as f64).collect());
            }
        }
        differences = newer;
    }
    let weight = |value: usize| {
        differences.iter().zip(&coefficients).map(|(difference, by)| difference[value] * by).sum()
    };
    (0..computed.len()).rev().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand. Order 1, values at 0 and 2, two steps on: `f₂ + 2·(f₂ − f₀)/2`. Order 2, values at 0, 1 and 3, one step on:
    /// `Δ¹ = (f₃ − f₁)/2`, before it `f₁ − f₀`, so `Δ² = ((f₃ − f₁)/2 − (f₁ − f₀))/2`.
    #[test]
    fn taylor_by_hand() {
        let weights = |order, computed: &[usize], step| Taylor { order }.weights(computed, step);
        assert_eq!(weights(0, &[0, 1], 3), [1.0, 0.0]);
        assert_eq!(weights(1, &[0], 3), [1.0]);
        assert_eq!(weights(1, &[0, 2], 4), [2.0, -1.0]);
        assert_eq!(weights(1, &[0, 1, 4], 5), [4.0 / 3.0, -1.0 / 3.0, 0.0]);
        assert_eq!(weights(2, &[0, 1], 2), [2.0, -1.0]);
        assert_eq!(weights(2, &[0, 1, 3], 4), [1.0 + 0.5 + 0.125, -0.5 - 0.375, 0.25]);
        assert_eq!(weights(2, &[0, 1, 2], 3), [2.5, -2.0, 0.5]);
    }

    /// By hand, with σ = 1/2: `H₁(k/2)/2 = k/2` and `H₂(k/2)/8 = (k² − 2)/8`. Values at 0, 1 and 2, two steps on:
    /// `f₂ + (f₂ − f₁) + (f₂ − 2f₁ + f₀)/4`. With order 3, `H₃(k/2)/48 = (k³ − 6k)/48`.
    #[test]
    fn hermite_by_hand() {
        let weights = |order, computed: &[usize], step| Hermite { order, scale: 0.5 }.weights(computed, step);
        assert_eq!(weights(2, &[0], 2), [1.0]);
        assert_eq!(weights(1, &[0, 2], 4), [1.5, -0.5]);
        assert_eq!(weights(2, &[0, 1, 2], 4), [1.0 + 1.0 + 0.25, -1.0 - 0.5, 0.25]);
        assert_eq!(weights(2, &[0, 1, 2], 3), [1.0 + 0.5 - 0.125, -0.5 + 0.25, -0.125]);
        // k = 3: 3/2, 7/8 and 9/48.
        let by_hand = [1.0 + 1.5 + 0.875 + 0.1875, -1.5 - 1.75 - 0.5625, 0.875 + 0.5625, -0.1875];
        assert_eq!(weights(3, &[0, 1, 2, 3], 6), by_hand);
    }

    /// By hand, of 4 steps. Values at 0 and 2 are at τ = −1 and 0, and the forecast is at 3, τ = 1/2. With degree 1 and λ = 1,
    /// `XᵀX + I` is `[[3, −1], [−1, 2]]`, whose inverse is `[[2, 1], [1, 3]]/5`, and `(1, 1/2)` times that is `(1/2, 1/2)`: the
    /// weights are `1/2` at τ = 0 and `0` at τ = −1.
    #[test]
    fn chebyshev_by_hand() {
        let chebyshev = Chebyshev { degree: 1, ridge: 1.0, blend: 1.0, history: 100 };
        let near = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
        };
        near(chebyshev.weights(&[0, 2], 3, 4), &[0.5, 0.0]);
        // The straight line through both goes on by half its slope: 3/2 and −1/2.
        let blended = Chebyshev { blend: 0.5, ..chebyshev };
        near(blended.weights(&[0, 2], 3, 4), &[1.0, -0.25]);
        // What lies too far back has no weight.
        near(Chebyshev { history: 2, ..blended }.weights(&[0, 1, 2], 3, 4), &blended.weights(&[1, 2], 3, 4));
        // T₂ = 2τ² − 1, T₃ = 4τ³ − 3τ, T₄ = 8τ⁴ − 8τ² + 1.
        near(Chebyshev { degree: 4, ..chebyshev }.polynomials(0.5), &[1.0, 0.5, -0.5, -1.0, -0.5]);
    }

    /// With almost no ridge, as many values as polynomials are met exactly: those of a parabola give its next.
    #[test]
    fn a_curve_through_all_values_goes_on() {
        let chebyshev = Chebyshev { degree: 2, ridge: 1e-12, blend: 1.0, history: 100 };
        let weights = chebyshev.weights(&[0, 1, 3, 4], 6, 10);
        let forecast: f64 =
            weights.iter().zip([16.0, 9.0, 1.0, 0.0]).map(|(weight, value)| weight * value).sum();
        assert!((forecast - 36.0).abs() < 1e-6, "{forecast}");
    }
}
