use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact, Granularity};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The numbers that a product of codes stands for: `acc · scale(x) · scale(W) + bias`, each operation in f32 and rounded to
/// the scales' dtype, the result in `dtype`.
///
/// The inputs are `acc` `[…, out]`, then `x` if it is quantized, `W` `[out, in]`, and the optional bias `[out]`. Only the
/// scales of `x` and `W` are read: one per tensor, or one per row, which is a row of `acc` for `x` and a column for `W`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rescale {
    pub dtype: DType,
}

impl Rescale {
    /// How many of the operands after the first are quantized: one (`W`) or two (`x` and `W`).
    pub fn quantized(inputs: &[&Fact]) -> usize {
        inputs[1..].iter().take_while(|input| input.is_quantized()).count()
    }
}

impl Operator for Rescale {
    const NAMES: &'static [&'static str] = &["rescale"];
    const KIND: OpKind = OpKind::Codes;

    fn arity(&self) -> RangeInclusive<usize> {
        2..=4
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let acc = inputs[0];
        ensure!(!acc.is_quantized(), "the first operand must be an unquantized product, not {acc}");
        ensure!(self.dtype.is_float(), "the result must be floating point, not {}", self.dtype);
        let Some((&out, rows)) = acc.shape.split_last() else {
            return Err(InferError("a scalar is not a product of codes".into()));
        };
        let quantized = Self::quantized(inputs);
        let (x, weight) = match quantized {
            1 => (None, inputs[1]),
            2 => (Some(inputs[1]), inputs[2]),
            _ => return Err(InferError("one or two quantized operands must follow the product".into())),
        };
        for fact in x.iter().chain([&weight]) {
            let per = fact.scales.map(|scales| scales.per);
            ensure!(
                matches!(per, Some(Granularity::Row | Granularity::Tensor)),
                "{fact} has scales per group, which cannot rescale a product"
            );
        }
        ensure!(
            weight.shape.len() == 2 && weight.shape[0] == out,
            "the weight must be [{out}, in], not {}",
            weight.shape
        );
        if let Some(x) = x {
            ensure!(
                x.shape.split_last().is_some_and(|(_, leading)| leading == rows),
                "the rows of {} do not match those of the product {}",
                x.shape,
                acc.shape
            );
        }
        match inputs[1 + quantized..] {
            [] => {}
            [bias] => ensure!(
                *bias.shape == [out] && bias.dtype == self.dtype,
                "the bias must be {}[{out}], not {bias}",
                self.dtype
            ),
            _ => return Err(InferError("only a bias can follow the quantized operands".into())),
        }
        Ok(Fact::new(self.dtype, acc.shape.clone()))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        super::per_element(inputs.len() - 1, output)
    }

    fn bytes(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        let read = |input: &&Fact| match input.scales {
            Some(scales) => scales.bytes(input.dtype, &input.shape),
            None => input.bytes(),
        };
        inputs.iter().map(read).fold(output.bytes(), u64::saturating_add)
    }
}
