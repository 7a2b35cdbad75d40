//! Forecasts of a value from those that were computed, as weights that are known before the first step.
//!
//! When it is known which steps compute, every forecast that is linear in the computed values is a sum of the last few of
//! these, each times a number that depends on the step alone.

use super::options::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The series by differences of TaylorSeer (arXiv 2503.06923; diffusers, `hooks/taylorseer_cache.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Taylor {
    /// The order of the Taylor series: how many differences of computed values are used (0 to 3).
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
}
