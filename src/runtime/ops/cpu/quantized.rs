//! Quantized activations in one pass over memory each way, where burn's ops would take ten.

use super::{CHUNK, contiguous};
use crate::coded::Coded;
use crate::ops::quantized::Factor;
use crate::quantize::{columns, quantize_rows};
use burn::tensor::DType as BurnDType;
use burn_flex::{Flex, FlexDevice, FlexTensor};
use pulp::Arch;
use rayon::prelude::*;
use reflux_ir::Fact;
use reflux_ir::op::Quantize;

/// See [`Quantize`]; `x` is f32, `fact` its type.
pub fn quantize(op: &Quantize, x: &FlexTensor, fact: &Fact, device: &FlexDevice) -> Coded<Flex> {
    let x = x.to_contiguous();
    let (values, columns) = (x.storage::<f32>(), columns(&fact.shape));
    let host = quantize_rows([values.len() / columns, columns], op, |row, out| {
        out.copy_from_slice(&values[row * columns..][..columns]);
    });
    Coded::upload(host, &Fact::new(op.dtype, fact.shape.clone()).scaled(op.scales), device)
}

/// See [`reflux_ir::op::Rescale`]; `acc` is i32 or f32, all else f32. The result takes the place of `acc`, which has as
/// many bytes.
pub fn rescale(
    acc: FlexTensor,
    x: Option<Factor<Flex>>,
    weight: Factor<Flex>,
    bias: Option<FlexTensor>,
    fact: &Fact,
) -> FlexTensor {
    let columns = columns(&fact.shape);
    let rows = fact.shape.elements() / columns;
    let one_or_all = |x: FlexTensor, count: usize| match contiguous(x).storage::<f32>() {
        [one] => vec![*one; count],
        all => all.to_vec(),
    };
    let factors = Factors {
        rows: x.map_or_else(|| vec![1.0; rows], |x| one_or_all(x.scales, rows)),
        columns: one_or_all(weight.scales, columns),
        bias: bias.map_or_else(|| vec![0.0; columns], |bias| one_or_all(bias, columns)),
    };
    let mut acc = contiguous(acc);
    match acc.dtype() {
        BurnDType::I32 => factors.apply(acc.storage_mut::<i32>(), |acc| acc as f32, |y| y.to_bits() as i32),
        _ => factors.apply(acc.storage_mut::<f32>(), |acc| acc, |y| y),
    }
    FlexTensor::from_arc(acc.data_arc(), acc.layout().clone(), BurnDType::F32)
}

/// `· rows · columns + bias`
struct Factors {
    rows: Vec<f32>,
    columns: Vec<f32>,
    bias: Vec<f32>,
}

impl Factors {
    /// `number` reads an element, `bits` writes one.
    fn apply<T: Copy + Send>(
        &self,
        acc: &mut [T],
        number: impl Fn(T) -> f32 + Sync,
        bits: impl Fn(f32) -> T + Sync,
    ) {
        let arch = Arch::new();
        let width = self.columns.len();
        let rows = acc.par_chunks_mut(width).zip(&self.rows);
        rows.with_min_len(CHUNK / width + 1).for_each(|(acc, &row)| {
            arch.dispatch(
                #[inline(always)]
                || {
                    // In this order: with `acc` in the middle of the zip it does not become vector code.
                    let columns = self.columns.iter().zip(&self.bias);
                    for (acc, (column, bias)) in acc.iter_mut().zip(columns) {
                        *acc = bits(number(*acc) * row * column + bias);
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Target, quantized};
    use crate::value::Value;
    use burn::tensor::{Shape, TensorData};
    use reflux_ir::DType;

    fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
    }

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919) % 601) as f32 / 97.0 - 3.0).collect()
    }

    #[test]
    fn activations_are_quantized_as_the_composed_op_does() {
        let fact = Fact::new(DType::F32, [2, 3, 130]);
        for scales in ["row.f32", "tensor.f32", "group13.f32", "row.bf16", "tensor.f16", "group65.bf16"] {
            for quant_min in [-127, -128] {
                let op = Quantize {
                    dtype: DType::I8,
                    scales: scales.parse().unwrap(),
                    quant_min: Some(quant_min),
                    eps: 1e-5.into(),
                };
                let x = tensor(values(780), &fact.shape);
                let fast = quantize(&op, &x, &fact, &FlexDevice);
                let composed = quantized::quantize::<Flex>(&op, x, &fact, &FlexDevice).unwrap();
                assert_eq!(fast.scales.layout().shape(), composed.scales.layout().shape());
                assert_eq!(fast.scales.storage::<f32>(), composed.scales.storage::<f32>(), "{scales}");
                assert_eq!(fast.ints().storage::<i8>(), composed.ints().storage::<i8>(), "{scales}");
            }
        }
    }

    #[test]
    fn products_are_rescaled_as_the_composed_op_does() {
        let (rows, columns) = (6, 35);
        let fact = Fact::new(DType::F32, [2, 3, columns]);
        let factor = |count: usize| Factor { scales: tensor(values(count), &[count, 1]), dtype: DType::F32 };
        let bias = tensor(values(columns), &[columns]);
        let codes: Vec<i32> = (0..210).map(|i| (i * 104_729) % 40_000_001 - 20_000_000).collect();
        let int = FlexTensor::from_data(TensorData::new(codes, Shape::new([2, 3, columns])));
        for acc in [Value::Int(int), Value::Float(tensor(values(210), &[2, 3, columns]))] {
            for (x, weight) in [(None, columns), (Some(rows), columns), (Some(1), 1)] {
                for bias in [None, Some(bias.clone())] {
                    let x = || x.map(factor);
                    let fast =
                        Flex::rescale(acc.clone(), x(), factor(weight), bias.clone(), &fact, &FlexDevice);
                    let composed = quantized::rescale_rows::<Flex>(
                        acc.clone(),
                        x(),
                        factor(weight),
                        bias,
                        &fact,
                        &FlexDevice,
                    );
                    assert_eq!(fast.layout().shape(), composed.layout().shape());
                    assert_eq!(fast.storage::<f32>(), composed.to_contiguous().storage::<f32>());
                }
            }
        }
    }
}
