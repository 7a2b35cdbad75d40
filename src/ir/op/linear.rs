use super::{InferError, OpKind, Operator, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `x · Wᵀ + b`: `x` is `[…, in]`, `W` `[out, in]`, the optional `b` `[out]`; the result is `[…, out]`.
///
/// `W` may also be stored in panels of `w` neighbouring rows, `[out / w, in, w]`: its row `p · w + i` is `W[p, :, i]`. A
/// product then reads the weights in the order of memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {}

impl Operator for Linear {
    const NAMES: &'static [&'static str] = &["linear"];
    const KIND: OpKind = OpKind::Contraction;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, weight) = (inputs[0], inputs[1]);
        float("the input", x)?;
        let out = match weight.shape[..] {
            [out, _] => out,
            [panels, _, rows] => panels.saturating_mul(rows),
            _ => {
                let message = format!("the weight must be [out, in], or panels of it, not {}", weight.shape);
                return Err(InferError(message));
            }
        };
        ensure!(
            x.shape.last() == Some(&weight.shape[1]),
            "the last extent of the input {} must be {}, as many as the weight has columns",
            x.shape,
            weight.shape[1]
        );
        if let Some(bias) = inputs.get(2) {
            ensure!(*bias.shape == [out], "the bias must be [{out}], not {}", bias.shape);
        }
        one_dtype(inputs)?;
        let mut shape = x.shape.to_vec();
        *shape.last_mut().expect("checked above") = out;
        Ok(Fact::new(x.dtype, shape))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(inputs[1].shape[1].saturating_mul(2), output)
    }
}
