use super::{InferError, OpKind, Operator, axis_of, ensure, rows_stay};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Concatenates the inputs along `axis` (negative: from the back); all other extents agree.
///
/// Quantized inputs keep their codes; this requires one scale per row, and an axis other than the last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    pub axis: i64,
}

impl Operator for Concat {
    const NAMES: &'static [&'static str] = &["concat"];
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let first = inputs[0];
        ensure!(!first.dtype.is_block(), "{first} is read by `dequantize` only");
        let axis = axis_of(self.axis, first.shape.len())?;
        let mut shape = first.shape.to_vec();
        rows_stay(first, axis)?;
        for other in &inputs[1..] {
            let same = |i: usize| i == axis || other.shape[i] == first.shape[i];
            ensure!(
                other.dtype == first.dtype
                    && other.scales == first.scales
                    && other.shape.len() == shape.len()
                    && (0..shape.len()).all(same),
                "{other} cannot be concatenated to {first} along axis {axis}"
            );
            shape[axis] = shape[axis].saturating_add(other.shape[axis]);
        }
        Ok(Fact { scales: first.scales, ..Fact::new(first.dtype, shape) })
    }
}
