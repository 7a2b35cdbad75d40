//! Products of quantized values.

use super::tiles::for_each;
use crate::ops::quantized::Factor;
use crate::value::burn_shape;
use burn::tensor::DType as BurnDType;
use burn_flex::{Flex, FlexTensor};
use pulp::Arch;
use reflux_ir::Fact;
use reflux_ir::dtype::f8e4m3;
use std::ops::Range;

/// The fewest elements for which another thread pays off.
const SHARE: usize = 1 << 15;

/// The values of f8e4m3 codes given by their bits.
pub fn decode_f8(codes: &FlexTensor) -> FlexTensor {
    let mut y = FlexTensor::empty(codes.layout().shape().clone(), BurnDType::F32);
    let numbers: &mut [f32] = y.storage_mut();
    let parts: Vec<_> = numbers.chunks_mut(SHARE).zip(codes.storage::<u8>().chunks(SHARE)).collect();
    let arch = Arch::new();
    for_each(
        parts,
        || (),
        |(), (numbers, codes)| {
            arch.dispatch(
                #[inline(always)]
                || numbers.iter_mut().zip(codes).for_each(|(number, &code)| *number = f8e4m3::decode(code)),
            );
        },
    );
    y
}

/// The factors and the bias of a product of codes: see [`reflux_ir::op::Rescale`].
pub struct ScaleFactors {
    /// The factors of the rows of the product.
    rows: Vec<f32>,
    /// The factors of its columns.
    columns: Vec<f32>,
    bias: Vec<f32>,
}

impl ScaleFactors {
    /// The factors of a product with `rows` and `columns`; all scales are f32.
    pub fn new(
        x: Option<&FlexTensor>,
        weight: &FlexTensor,
        bias: Option<&FlexTensor>,
        [rows, columns]: [usize; 2],
    ) -> Self {
        let one_or_all = |x: &FlexTensor, count: usize| match x.to_contiguous().storage::<f32>() {
            [one] => vec![*one; count],
            all => all.to_vec(),
        };
        Self {
            rows: x.map_or_else(|| vec![1.0; rows], |x| one_or_all(x, rows)),
            columns: one_or_all(weight, columns),
            bias: bias.map_or_else(|| vec![0.0; columns], |bias| one_or_all(bias, columns)),
        }
    }

    /// `y = acc · row · columns + bias` for some columns of a row.
    #[inline(always)]
    pub fn apply<T: Rescaled>(&self, row: usize, columns: Range<usize>, acc: &[T], y: &mut [f32]) {
        let row = self.rows[row];
        let factors = self.columns[columns.clone()].iter().zip(&self.bias[columns]);
        for ((y, acc), (column, bias)) in y.iter_mut().zip(acc).zip(factors) {
            *y = acc.number() * row * column + bias;
        }
    }
}

/// Types of sums of products.
pub trait Rescaled: Copy + Sync {
    fn number(self) -> f32;
}

impl Rescaled for f32 {
    #[inline(always)]
    fn number(self) -> f32 {
        self
    }
}

impl Rescaled for i32 {
    #[inline(always)]
    fn number(self) -> f32 {
        self as f32
    }
}

/// See [`reflux_ir::op::Rescale`]; `acc` is i32 or f32, all else f32.
pub fn rescale(
    acc: &FlexTensor,
    x: Option<Factor<Flex>>,
    weight: Factor<Flex>,
    bias: Option<FlexTensor>,
    fact: &Fact,
) -> FlexTensor {
    let shape = [fact.shape.rows(), fact.shape.columns()];
    let factors = ScaleFactors::new(x.as_ref().map(|x| &x.scales), &weight.scales, bias.as_ref(), shape);
    let mut y = FlexTensor::empty(burn_shape(&fact.shape), BurnDType::F32);
    let acc = acc.to_contiguous();
    match acc.dtype() {
        BurnDType::I32 => rescale_rows(&factors, acc.storage::<i32>(), y.storage_mut()),
        BurnDType::F32 => rescale_rows(&factors, acc.storage::<f32>(), y.storage_mut()),
        other => unreachable!("products of codes are summed in i32 or f32, not {other:?}"),
    }
    y
}

fn rescale_rows<T: Rescaled>(factors: &ScaleFactors, acc: &[T], y: &mut [f32]) {
    let columns = factors.columns.len();
    let rows = SHARE.div_ceil(columns);
    let parts: Vec<_> = y.chunks_mut(rows * columns).zip(acc.chunks(rows * columns)).enumerate().collect();
    let arch = Arch::new();
    for_each(
        parts,
        || (),
        |(), (part, (y, acc))| {
            arch.dispatch(
                #[inline(always)]
                || {
                    for (row, (y, acc)) in y.chunks_mut(columns).zip(acc.chunks(columns)).enumerate() {
                        factors.apply(part * rows + row, 0..columns, acc, y);
                    }
                },
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BurnBackend;
    use crate::ops::quantized;
    use crate::value::Value;
    use burn::tensor::{Shape, TensorData};
    use burn_flex::FlexDevice;
    use reflux_ir::DType;
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
                let coded = Fact::new(DType::I8, fact.shape.clone()).scaled(op.scales);
                let fast = Flex::by_itself(&op.clone().into(), &[], &coded, vec![Value::Float(x.clone())]);
                let fast = fast.unwrap().coded();
                let composed = quantized::quantize::<Flex>(&op, x, &fact, &FlexDevice).unwrap();
                assert_eq!(fast.scales.layout().shape(), composed.scales.layout().shape());
                assert_eq!(fast.scales.storage::<f32>(), composed.scales.storage::<f32>(), "{scales}");
                assert_eq!(fast.codes.storage::<i8>(), composed.codes.storage::<i8>(), "{scales}");
            }
        }
    }

    #[test]
    fn codes_of_f8_are_decoded_as_the_composed_op_does() {
        let codes: Vec<u8> = (0..3 * SHARE).map(|index| (index * 7 % 256) as u8).collect();
        let codes = FlexTensor::from_data(TensorData::new(codes, Shape::new([3, SHARE])));
        let fast = Flex::decode_f8(codes.clone(), &FlexDevice);
        let composed = quantized::decode_f8::<Flex>(codes, &FlexDevice);
        let bits = |x: &FlexTensor| x.storage::<f32>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(fast.layout().shape(), composed.layout().shape());
        assert_eq!(bits(&fast), bits(&composed));
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
