use super::{InferError, OpKind, Operator, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Two-dimensional convolution with stride 1 and the same zero padding on all sides.
///
/// `x` is `[batch, in, height, width]`, the weight `[out, in, kernel, kernel]`, the optional bias `[out]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    pub padding: usize,
}

impl Operator for Conv2d {
    const NAMES: &'static [&'static str] = &["conv2d"];
    const KIND: OpKind = OpKind::Contraction;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, weight) = (inputs[0], inputs[1]);
        float("the input", x)?;
        one_dtype(inputs)?;
        ensure!(x.shape.len() == 4, "the input must be [batch, channels, height, width], not {}", x.shape);
        ensure!(
            weight.shape.len() == 4 && weight.shape[1] == x.shape[1],
            "the weight must be [out, {}, kernel, kernel] to match the input, not {}",
            x.shape[1],
            weight.shape
        );
        ensure!(!weight.shape[2..].contains(&0), "the kernel {} is empty", weight.shape);
        if let Some(bias) = inputs.get(2) {
            ensure!(
                *bias.shape == weight.shape[..1],
                "the bias must be [{}], not {}",
                weight.shape[0],
                bias.shape
            );
        }
        let extent = |axis: usize| {
            let padded = x.shape[axis].saturating_add(self.padding.saturating_mul(2));
            padded.checked_sub(weight.shape[axis] - 1).filter(|&extent| extent > 0)
        };
        match (extent(2), extent(3)) {
            (Some(height), Some(width)) => {
                Ok(Fact::new(x.dtype, [x.shape[0], weight.shape[0], height, width]))
            }
            _ => Err(InferError(format!("the kernel {} is larger than the input {}", weight.shape, x.shape))),
        }
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        let kernel: usize = inputs[1].shape[1..].iter().product();
        per_element(kernel.saturating_mul(2), output)
    }
}
