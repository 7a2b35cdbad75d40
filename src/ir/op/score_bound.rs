use super::{InferError, OpKind, Operator, Real, ensure, float};
use crate::{DType, Fact, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What no score of [`Attention`](super::Attention) exceeds in magnitude, if its queries and keys are normalised by
/// [`RmsNorm`](super::RmsNorm) and rotated by [`Rope`](super::Rope): `|scale| · dim · maxᵢ (Qᵢ · Kᵢ) · 1.05`, as `f32[]`.
///
/// The operands are the weights `[dim]` of all norms of queries, as many as `queries`, and then those of keys. `Qᵢ` is the largest
/// magnitude that any of the former has in the pair of numbers *i*, `Kᵢ` that of the latter. A normalised head has a length of at
/// most √dim before its weight, and a rotation leaves the length of each pair as it is; so by the inequality of Cauchy and Schwarz,
/// `|q · k| ≤ Σᵢ Qᵢ Kᵢ |qᵢ| |kᵢ| ≤ maxᵢ (Qᵢ · Kᵢ) · √dim · √dim`. The last factor makes up for what is rounded to bf16 between.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBound {
    pub queries: usize,
    pub scale: Real,
}

impl ScoreBound {
    /// What roundings add to the bound, as a factor.
    const ROUNDED: f64 = 1.05;

    /// The bound, given the weights of the norms of queries and of keys, `dim` each.
    ///
    /// # Panics
    /// If one of them has an odd number of elements, or another than the others.
    pub fn of(&self, queries: &[&[f32]], keys: &[&[f32]]) -> f32 {
        // Unlike `f32::max`, this keeps NaN, of which no bound is known.
        let larger = |most: f32, other: f32| if other > most || other.is_nan() { other } else { most };
        let largest = |weights: &[&[f32]], pair: usize| {
            let of_pair = weights.iter().flat_map(|weight| &weight[2 * pair..2 * pair + 2]);
            of_pair.map(|weight| weight.abs()).fold(0.0, larger)
        };
        let dim = queries[0].len();
        let products = (0..dim / 2).map(|pair| largest(queries, pair) * largest(keys, pair));
        self.factor(dim) * products.fold(0.0, larger)
    }

    /// What the largest product of a pair is multiplied with, if heads have `dim` numbers: `|scale| · dim · 1.05`.
    pub fn factor(&self, dim: usize) -> f32 {
        (self.scale.0.abs() * dim as f64 * Self::ROUNDED) as f32
    }
}

impl Operator for ScoreBound {
    const NAMES: &'static [&'static str] = &["score_bound"];
    const KIND: OpKind = OpKind::Reduction;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let dim = inputs[0].shape.last().copied().unwrap_or(0);
        ensure!(
            dim > 0 && dim.is_multiple_of(2),
            "a norm of heads has an even number of weights, not {}",
            inputs[0]
        );
        for weight in inputs {
            float("the weight of a norm", weight)?;
            ensure!(weight.shape == Shape::from([dim]), "the weight of a norm must be [{dim}], not {weight}");
        }
        ensure!(
            (1..inputs.len()).contains(&self.queries),
            "`queries` says how many of the {} weights are of queries; at least one must be, and one of keys",
            inputs.len()
        );
        Ok(Fact::new(DType::F32, Shape::default()))
    }

    fn flops(&self, inputs: &[&Fact], _output: &Fact) -> u64 {
        inputs.iter().map(|weight| weight.shape.elements() as u64).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_the_largest_of_each_pair() {
        let op = ScoreBound { queries: 2, scale: 0.5.into() };
        let bound = op.of(&[&[1.0, -3.0, 0.5, 0.0], &[2.0, 1.0, 0.0, 4.0]], &[&[0.0, 2.0, 1.0, -0.5]]);
        // Pairs: 3 · 2 and 4 · 1.
        assert!((bound - 0.5 * 4.0 * 1.05 * 6.0).abs() < 1e-5, "{bound}");
        assert!(op.of(&[&[f32::NAN, 1.0], &[1.0, 1.0]], &[&[1.0, 1.0]]).is_nan());
    }
}
