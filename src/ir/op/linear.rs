use super::{InferError, Operator, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `x · Wᵀ + b`: `x` is `[…, in]`, `W` `[out, in]`, the optional `b` `[out]`; the result is `[…, out]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {}

impl Operator for Linear {
    const NAMES: &'static [&'static str] = &["linear"];

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, weight) = (inputs[0], inputs[1]);
        float("the input", x)?;
        ensure!(weight.shape.len() == 2, "the weight must be [out, in], not {}", weight.shape);
        ensure!(
            x.shape.last() == Some(&weight.shape[1]),
            "an input {} does not end in the weight's {} columns",
            x.shape,
            weight.shape[1]
        );
        if let Some(bias) = inputs.get(2) {
            ensure!(
                *bias.shape == weight.shape[..1],
                "the bias must be [{}], not {}",
                weight.shape[0],
                bias.shape
            );
        }
        one_dtype(inputs)?;
        let mut shape = x.shape.to_vec();
        *shape.last_mut().expect("checked above") = weight.shape[0];
        Ok(Fact::new(x.dtype, shape))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(inputs[1].shape[1].saturating_mul(2), output)
    }
}
