//! How far numbers are from others, gathered over steps.

use serde::{Deserialize, Deserializer, Serialize};

/// Sums over pairs of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    difference: f64,
    expected: f64,
    found: f64,
    product: f64,
    most: f64,
    /// How many tensors were added.
    pub count: usize,
}

/// How far values are from those expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// ‖found − expected‖ / ‖expected‖, over all steps.
    #[serde(deserialize_with = "number")]
    pub relative_l2: f64,
    /// Of the angle between both; 1 where they differ by a positive factor alone.
    #[serde(deserialize_with = "number")]
    pub cosine: f64,
    /// The greatest difference of two numbers.
    #[serde(deserialize_with = "number")]
    pub max: f64,
}

/// A number; JSON has none for those that are not, and writes `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Sums {
    pub fn add(&mut self, found: &[f32], expected: &[f32]) {
        self.count += 1;
        for (found, expected) in found.iter().zip(expected) {
            let (found, expected) = (f64::from(*found), f64::from(*expected));
            let difference = found - expected;
            self.difference += difference * difference;
            self.expected += expected * expected;
            self.found += found * found;
            self.product += found * expected;
            self.most = larger(self.most, difference.abs());
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.difference += other.difference;
        self.expected += other.expected;
        self.found += other.found;
        self.product += other.product;
        self.most = larger(self.most, other.most);
        self.count += other.count;
    }

    /// None if nothing was added.
    pub fn distance(&self) -> Option<Distance> {
        (self.count > 0).then(|| Distance {
            relative_l2: if self.difference == 0.0 { 0.0 } else { (self.difference / self.expected).sqrt() },
            cosine: match self.found * self.expected {
                norms if norms > 0.0 => (self.product / norms.sqrt()).clamp(-1.0, 1.0),
                _ if self.difference == 0.0 => 1.0,
                _ => f64::NAN,
            },
            max: self.most,
        })
    }
}

/// The larger of two numbers; a NaN stays one.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_over_all_that_was_added() {
        let mut sums = Sums::default();
        assert_eq!(sums.distance(), None);
        sums.add(&[3.0, 4.0], &[3.0, 4.0]);
        assert_eq!(sums.distance(), Some(Distance { relative_l2: 0.0, cosine: 1.0, max: 0.0 }));
        sums.add(&[0.0, 5.0], &[5.0, 0.0]);
        // ‖(0, 0, -5, 5)‖ / ‖(3, 4, 5, 0)‖ = √50 / √50, and 25 / (√50 · √50).
        let found = sums.distance().unwrap();
        assert!((found.relative_l2 - 1.0).abs() < 1e-12 && (found.cosine - 0.5).abs() < 1e-12);
        assert_eq!(found.max, 5.0);
        let mut whole = Sums::default();
        whole.merge(&sums);
        assert_eq!(whole.distance(), sums.distance());
    }

    #[test]
    fn what_is_not_a_number_is_not_hidden() {
        let mut sums = Sums::default();
        sums.add(&[f32::NAN, 1.0], &[1.0, 1.0]);
        let found = sums.distance().unwrap();
        assert!(found.relative_l2.is_nan() && found.max.is_nan());
    }
}
