use super::{InferError, OpKind, Operator, ensure, float, one_dtype, per_element};
use crate::Fact;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Two-dimensional convolution with the same zero padding on all sides.
///
/// `x` is `[batch, in, height, width]`, the weight `[out, in / groups, kernel, kernel]`, the optional bias `[out]`. Of `groups`
/// equal shares of the channels, each output share sees its own input share.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    pub padding: usize,
    /// Pixels from one window to the next.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stride: usize,
    /// Pixels from one weight of the kernel to the next.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub dilation: usize,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
}

fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

impl Conv2d {
    /// One whose windows are next to each other, over all channels.
    pub fn plain(padding: usize) -> Self {
        Self { padding, stride: 1, dilation: 1, groups: 1 }
    }

    /// Whether it is such a one.
    pub fn is_plain(&self) -> bool {
        *self == Self::plain(self.padding)
    }
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
        let Self { padding, stride, dilation, groups } = *self;
        ensure!(
            stride > 0 && dilation > 0 && groups > 0,
            "stride, dilation and groups must be positive, not {stride}, {dilation} and {groups}"
        );
        ensure!(
            x.shape[1].is_multiple_of(groups),
            "{} channels do not divide into {groups} groups",
            x.shape[1]
        );
        let channels = x.shape[1] / groups;
        ensure!(
            weight.shape.len() == 4 && weight.shape[1] == channels,
            "the weight must be [out, {channels}, kernel, kernel] to match the input, not {}",
            weight.shape
        );
        ensure!(
            weight.shape[0].is_multiple_of(groups),
            "{} results do not divide into {groups} groups",
            weight.shape[0]
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
            let padded = x.shape[axis].saturating_add(padding.saturating_mul(2));
            let reach = (weight.shape[axis] - 1).saturating_mul(dilation).saturating_add(1);
            padded.checked_sub(reach).map(|room| room / stride + 1)
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
