use super::{Attention, InferError, OpKind, Operator, Real, ensure, float};
use crate::{DType, Fact, Shape};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What no score of [`Attention`] exceeds in magnitude, if its queries and keys are normalised by
/// [`RmsNorm`](super::RmsNorm) and rotated by [`Rope`](super::Rope): `|scale| · dim · maxᵢ (Qᵢ · Kᵢ) · 1.05`, as `f32[]`.
///
/// The operands are the weights `[dim]` of all norms of queries, as many as `queries`, and then those of keys. `Qᵢ` is the largest
/// magnitude that any of the former has in the pair of numbers *i*, `Kᵢ` that of the latter. A normalised head has a length of at
/// most √dim before its weight, and a rotation leaves the length of each pair as it is; so by the inequality of Cauchy and Schwarz,
/// `|q · k| ≤ Σᵢ Qᵢ Kᵢ |qᵢ| |kᵢ| ≤ maxᵢ (Qᵢ · Kᵢ) · √dim · √dim`. The last factor makes up for what is rounded to bf16 between.
///
/// With `codes`, queries and keys are quantized to that dtype after it, row by row, which can lengthen them: see [`ScoreBound::shares`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBound {
    pub queries: usize,
    pub scale: Real,
    /// What queries and keys are quantized to, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<DType>,
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
        let (dim, pairs) = (queries[0].len(), 0..queries[0].len() / 2);
        let all = |weights: &[&[f32]]| pairs.clone().map(|pair| largest(weights, pair)).fold(0.0, larger);
        let products = pairs.clone().map(|pair| largest(queries, pair) * largest(keys, pair));
        let [of_pairs, of_all] = self.shares(dim);
        let largest_pair = products.fold(0.0, larger);
        if of_all == 0.0 {
            of_pairs * largest_pair
        } else {
            of_pairs * largest_pair + of_all * all(queries) * all(keys)
        }
    }

    /// What the largest product `maxᵢ (Qᵢ · Kᵢ)` of a pair is multiplied with, if heads have `dim` numbers, and what `maxᵢ Qᵢ · maxᵢ Kᵢ` is:
    /// `|scale| · dim · 1.05`, and nothing.
    ///
    /// A code is off by a part `f` of its number, and by a part `a` of the largest of its row besides: half a step, so in `i8` 0 and 1/254, in
    /// `f8e4m3` 1/16 and, near zero, 1/(448 · 1024). The latter adds at most a length of `ε = a · √dim` times that of the row, in any direction.
    /// So `|q · k|` grows to at most `(1 + f)² maxᵢ (Qᵢ · Kᵢ) + (2 ε (1 + f) + ε²) maxᵢ Qᵢ · maxᵢ Kᵢ`, times `dim`.
    pub fn shares(&self, dim: usize) -> [f32; 2] {
        let (relative, absolute) = match self.codes {
            Some(DType::F8E4M3) => (1.0 / 16.0, 1.0 / (448.0 * 1024.0)),
            Some(_) => (0.0, 1.0 / 254.0),
            None => (0.0, 0.0),
        };
        let (grown, added) = (1.0 + relative, absolute * (dim as f64).sqrt());
        let all = self.scale.0.abs() * dim as f64 * Self::ROUNDED;
        [grown * grown, 2.0 * added * grown + added * added].map(|share| (all * share) as f32)
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
        ensure!(
            self.codes.is_none_or(|codes| Attention::CODES.contains(&codes)),
            "attention is over codes of i8 or f8e4m3, not of another dtype"
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
    use crate::dtype::f8e4m3;
    use crate::op::Quantize;
    use crate::{Granularity, Scales};

    #[test]
    fn it_is_of_the_largest_of_each_pair() {
        let op = ScoreBound { queries: 2, scale: 0.5.into(), codes: None };
        let bound = op.of(&[&[1.0, -3.0, 0.5, 0.0], &[2.0, 1.0, 0.0, 4.0]], &[&[0.0, 2.0, 1.0, -0.5]]);
        // Pairs: 3 · 2 and 4 · 1.
        assert!((bound - 0.5 * 4.0 * 1.05 * 6.0).abs() < 1e-5, "{bound}");
        assert!(op.of(&[&[f32::NAN, 1.0], &[1.0, 1.0]], &[&[1.0, 1.0]]).is_nan());
    }

    /// Rows of which one number is large, so that the others are rounded most, in i8 and f8e4m3.
    #[test]
    fn codes_stay_within_it() {
        for codes in Attention::CODES {
            let bound = ScoreBound { queries: 1, scale: 1.0.into(), codes: Some(codes) };
            let plain = ScoreBound { codes: None, ..bound.clone() };
            let weights = [1.0; 128];
            let (bound, plain) = (bound.of(&[&weights], &[&weights]), plain.of(&[&weights], &[&weights]));
            assert!(bound > 1.08 * plain && bound < 1.15 * plain, "{bound} {plain}");
            let scales = Scales { per: Granularity::Row, dtype: DType::F32 };
            let op = Quantize { dtype: codes, scales, quant_min: None, eps: 1e-12.into() };
            for steps in 0..64 {
                let small = (steps as f32 + 0.501) / op.divisor();
                let row: Vec<f32> = (0..128).map(|i| if i == 0 { 1.0 } else { small }).collect();
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                let row: Vec<f32> = row.iter().map(|x| x / length * 128f32.sqrt()).collect();
                let scale = row[0] / op.divisor();
                let rounded = |x: &f32| match codes {
                    DType::I8 => (x / scale).round() * scale,
                    _ => f8e4m3::decode(f8e4m3::encode(x / scale)) * scale,
                };
                let score: f32 = row.iter().map(rounded).map(|x| x * x).sum();
                assert!(score * 1.05 <= bound, "{codes}: {score} of {bound}");
            }
        }
    }
}
