use super::{InferError, OpKind, Operator, float, one_dtype};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The second operand where the first is not zero, else the third; all broadcast as in numpy. The condition is of any float type,
/// the others are of one type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Where {}

impl Operator for Where {
    const NAMES: &'static [&'static str] = &["where"];
    // Numbers are copied, whatever they are, NaN and infinities too.
    const KIND: OpKind = OpKind::Movement;

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (condition, chosen) = (inputs[0], &inputs[1..]);
        float("the condition", condition)?;
        one_dtype(chosen)?;
        let shape =
            chosen.iter().try_fold(condition.shape.clone(), |shape, fact| shape.broadcast(&fact.shape));
        match shape {
            Some(shape) => Ok(Fact::new(chosen[0].dtype, shape)),
            None => {
                let [a, b, c] = [0, 1, 2].map(|index| &inputs[index].shape);
                Err(InferError(format!("{a}, {b} and {c} do not broadcast")))
            }
        }
    }
}
