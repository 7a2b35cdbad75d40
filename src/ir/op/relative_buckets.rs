use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact, HostTensor};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// T5's bidirectional relative-position buckets: entry `[i, j]` is the bucket of distance `j - i`.
///
/// Half of the buckets are for positive distances. In each half, the first half of the buckets hold one distance each; the
/// others grow logarithmically up to `max_distance` (transformers, `T5Attention._relative_position_bucket`).
/// No inputs; the result is `i32[length, length]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativeBuckets {
    pub length: usize,
    pub buckets: usize,
    pub max_distance: usize,
}

impl RelativeBuckets {
    /// The buckets of all distances, `i32[length, length]`.
    pub fn ids(&self) -> HostTensor {
        let ids: Vec<i32> = (0..self.length)
            .flat_map(|query| (0..self.length).map(move |key| self.bucket(key as i64 - query as i64)))
            .collect();
        HostTensor::from_i32([self.length, self.length], &ids)
    }

    fn bucket(&self, distance: i64) -> i32 {
        let half = self.buckets / 2;
        let exact = half / 2;
        let sign = if distance > 0 { half } else { 0 };
        let distance = distance.unsigned_abs() as usize;
        if distance < exact {
            return (sign + distance) as i32;
        }
        // In f32, as in transformers: the truncation below depends on the last bit.
        let ratio =
            (distance as f32 / exact as f32).ln() / (self.max_distance as f64 / exact as f64).ln() as f32;
        let large = exact + (ratio * (half - exact) as f32) as usize;
        (sign + large.min(half - 1)) as i32
    }
}

impl Operator for RelativeBuckets {
    const NAMES: &'static [&'static str] = &["relative_buckets"];
    const KIND: OpKind = OpKind::Position;

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        ensure!(self.length > 0, "length must be positive");
        ensure!(
            self.buckets >= 4 && self.buckets.is_multiple_of(4),
            "buckets must be a positive multiple of 4"
        );
        ensure!(
            self.max_distance > self.buckets / 4,
            "max_distance must exceed the {} distances that have a bucket each",
            self.buckets / 4
        );
        Ok(Fact::new(DType::I32, [self.length, self.length]))
    }

    fn flops(&self, _inputs: &[&Fact], _output: &Fact) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        // T5Attention._relative_position_bucket(-130..=130 step 13, bidirectional, 32 buckets, 128)
        let op = RelativeBuckets { length: 1, buckets: 32, max_distance: 128 };
        let distances = [-130, -64, -20, -8, -7, -1, 0, 1, 7, 8, 20, 64, 130];
        let expected = [15, 14, 10, 8, 7, 1, 0, 17, 23, 24, 26, 30, 31];
        assert_eq!(distances.map(|distance| op.bucket(distance)), expected);
    }
}
