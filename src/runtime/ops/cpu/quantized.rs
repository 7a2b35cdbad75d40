//! Quantized activations in one pass over memory each way, where burn's ops would take ten.

use super::CHUNK;
use crate::coded::Coded;
use crate::ops::quantized::Factor;
use crate::quantize::{columns, quantize_rows};
use crate::value::Value;
use burn::tensor::{DType as BurnDType, Shape, TensorData};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use pulp::Arch;
use rayon::prelude::*;
use reflux_ir::op::Quantize;
use reflux_ir::{DType, Fact};

/// See [`Quantize`]; `x` is f32, `fact` its type.
pub fn quantize(op: &Quantize, x: &FlexTensor, fact: &Fact, device: &FlexDevice) -> Coded<Flex> {
    let x = x.to_contiguous();
    let (values, columns) = (x.storage::<f32>(), columns(&fact.shape));
    let host = quantize_rows([values.len() / columns, columns], op, |row, out| {
        out.copy_from_slice(&values[row * columns..][..columns]);
    });
    Coded::upload(host, &Fact::new(op.dtype, fact.shape.clone()).scaled(op.scales), device)
}

/// See [`reflux_ir::op::Rescale`], if all of it is f32.
pub fn rescale(
    acc: &Value<Flex>,
    x: Option<&Factor<Flex>>,
    weight: &Factor<Flex>,
    bias: Option<&FlexTensor>,
    fact: &Fact,
) -> Option<FlexTensor> {
    let dtypes = x.iter().map(|x| x.dtype).chain([weight.dtype, fact.dtype]);
    if dtypes.into_iter().any(|dtype| dtype != DType::F32) {
        return None;
    }
    let columns = columns(&fact.shape);
    let one_or_all = |x: &FlexTensor, count: usize| match x.to_contiguous().storage::<f32>() {
        [one] => vec![*one; count],
        all => all.to_vec(),
    };
    let weight = one_or_all(&weight.scales, columns);
    let bias = bias.map_or_else(|| vec![0.0; columns], |bias| one_or_all(bias, columns));
    let x = match x {
        Some(x) => one_or_all(&x.scales, fact.shape.elements() / columns),
        None => vec![1.0; fact.shape.elements() / columns],
    };
    let values = match acc {
        Value::Int(acc) if acc.dtype() == BurnDType::I32 => {
            rows(acc.to_contiguous().storage::<i32>(), |acc| acc as f32, &x, &weight, &bias)
        }
        Value::Float(acc) if acc.dtype() == BurnDType::F32 => {
            rows(acc.to_contiguous().storage::<f32>(), |acc| acc, &x, &weight, &bias)
        }
        _ => return None,
    };
    Some(FlexTensor::from_data(TensorData::new(values, Shape::from(fact.shape.to_vec()))))
}

/// `acc · x + bias` with a factor for each row and one for each column.
fn rows<T: Copy + Sync>(
    acc: &[T],
    number: impl Fn(T) -> f32 + Copy + Sync,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let arch = Arch::new();
    let columns = weight.len();
    let mut values = vec![0.0; acc.len()];
    let rows = values.par_chunks_mut(columns).zip(acc.par_chunks(columns)).zip(x);
    rows.with_min_len(CHUNK / columns + 1).for_each(|((values, acc), x)| {
        arch.dispatch(
            #[inline(always)]
            || {
                let columns = weight.iter().zip(bias);
                for ((value, &acc), (weight, bias)) in values.iter_mut().zip(acc).zip(columns) {
                    *value = number(acc) * x * weight + bias;
                }
            },
        );
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::quantized;
    use reflux_ir::op::Quantize;

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
                    let fast = rescale(&acc, x().as_ref(), &factor(weight), bias.as_ref(), &fact).unwrap();
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
