use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact};
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
