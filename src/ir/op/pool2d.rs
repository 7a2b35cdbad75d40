use super::{InferError, OpKind, Operator, ensure, float, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The greatest number in each window of `kernel` × `kernel` over `[batch, channels, height, width]`, every `stride` pixels; windows
/// stay inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool2d {
    pub kernel: usize,
    pub stride: usize,
}

/// The mean of the numbers in each such window.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool2d {
    pub kernel: usize,
    pub stride: usize,
}

macro_rules! pooling {
    ($op:ident, $name:literal) => {
        impl Operator for $op {
            const NAMES: &'static [&'static str] = &[$name];
            const KIND: OpKind = OpKind::Reduction;

            fn arity(&self) -> RangeInclusive<usize> {
                1..=1
            }

            fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
                pooled(inputs[0], self.kernel, self.stride)
            }

            fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
                per_element(self.kernel.saturating_mul(self.kernel), output)
            }
        }
    };
}

pooling!(MaxPool2d, "max_pool2d");
pooling!(AvgPool2d, "avg_pool2d");

/// What is left of `x`.
fn pooled(x: &Fact, kernel: usize, stride: usize) -> Result<Fact, InferError> {
    float("the input", x)?;
    ensure!(x.shape.len() == 4, "the input must be [batch, channels, height, width], not {}", x.shape);
    ensure!(kernel > 0 && stride > 0, "kernel and stride must be positive, not {kernel} and {stride}");
    let windows = |axis: usize| x.shape[axis].checked_sub(kernel).map(|room| room / stride + 1);
    match (windows(2), windows(3)) {
        (Some(height), Some(width)) => Ok(Fact::new(x.dtype, [x.shape[0], x.shape[1], height, width])),
        _ => Err(InferError(format!("a window of {kernel} is larger than the input {}", x.shape))),
    }
}
