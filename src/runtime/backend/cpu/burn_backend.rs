//! Overrides of burn-flex operations where Reflux has faster ones.

use super::matrix::Matrix;
use super::{attention, conv2d, data, gemm, group_norm, product, quantized, rowwise, upsample};
use crate::backend::BurnBackend;
use crate::ops::matrix;
use crate::ops::quantized::{self as composed, Factor};
use crate::value::{Value, burn_shape};
use burn::tensor::ops::{FloatTensor, IntTensor, IntTensorOps};
use burn::tensor::{DType, FloatDType, Shape};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use reflux_ir::op::{Arg, Attention, Op, Term, axis_index};
use reflux_ir::{DType as IrDType, Fact};

impl BurnBackend for Flex {
    /// Makes the value contiguous once, which ops would otherwise do each time.
    fn kept(value: Value<Self>) -> Value<Self> {
        match value {
            Value::Float(x) if !x.layout().is_contiguous() => Value::Float(x.to_contiguous()),
            value => value,
        }
    }

    fn by_itself(
        op: &Op,
        inputs: &[Fact],
        fact: &Fact,
        operands: Vec<Value<Self>>,
    ) -> Result<Value<Self>, Vec<Value<Self>>> {
        match op {
            Op::Rowwise(op) => rowwise::run(op.body.terms(), op.body.result(), operands, fact),
            Op::Gemm(op) => gemm::run(op, operands, inputs, fact).map(Value::Float),
            op if op.works_by_rows() || matches!(op, Op::Quantize(_)) => {
                let args = (0..operands.len()).map(Arg::Operand).collect();
                rowwise::run(&[Term { op: op.clone(), args }], Arg::Term(0), operands, fact)
            }
            Op::Attention(op) if inputs[0].is_quantized() => of_codes(op, inputs[0].dtype, operands),
            op if fact.dtype == IrDType::F32 && fact.shape.elements() > 0 => of_numbers(op, operands, fact),
            _ => Err(operands),
        }
    }

    fn project(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
        gemm::linear(&x, &weight, bias.as_ref()).unwrap_or_else(|| matrix::linear::<Self>(x, weight, bias))
    }

    fn matmul_i8(x: IntTensor<Self>, weight: IntTensor<Self>) -> IntTensor<Self> {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        match (Matrix::<i8>::of(&x), Matrix::<i8>::of(&weight)) {
            (Some(x_codes), Some(codes)) if x_codes.rows * codes.rows > 0 => {
                let mut shape = x.layout().shape().to_vec();
                *shape.last_mut().expect("a matrix has columns") = codes.rows;
                let mut y = FlexTensor::empty(Shape::from(shape), DType::I32);
                product::product(x_codes, codes, y.storage_mut());
                y
            }
            _ => composed::matmul_i8::<Self>(x, weight),
        }
    }

    fn decode_f8(codes: IntTensor<Self>, _device: &FlexDevice) -> FloatTensor<Self> {
        quantized::decode_f8(&codes.to_contiguous())
    }

    fn rescale(
        acc: Value<Self>,
        x: Option<Factor<Self>>,
        weight: Factor<Self>,
        bias: Option<FloatTensor<Self>>,
        fact: &Fact,
        device: &FlexDevice,
    ) -> FloatTensor<Self> {
        let dtypes = [weight.dtype, x.as_ref().map_or(IrDType::F32, |x| x.dtype), fact.dtype];
        let all_f32 = dtypes == [IrDType::F32; 3];
        match acc {
            Value::Int(acc) if all_f32 && acc.dtype() == DType::I32 => {
                quantized::rescale(&acc, x, weight, bias, fact)
            }
            Value::Float(acc) if all_f32 && acc.dtype() == DType::F32 => {
                quantized::rescale(&acc, x, weight, bias, fact)
            }
            acc => composed::rescale_rows::<Self>(acc, x, weight, bias, fact, device),
        }
    }
}

/// Runs attention over codes of the type `dtype` and f32 values; returns the operands if values are of another type.
fn of_codes(
    op: &Attention,
    dtype: IrDType,
    operands: Vec<Value<Flex>>,
) -> Result<Value<Flex>, Vec<Value<Flex>>> {
    let rest_is_f32 = operands[2..].iter().all(|x| matches!(x, Value::Float(x) if x.dtype() == DType::F32));
    let ([Value::Quantized(q), Value::Quantized(k), Value::Float(v), ..], true) =
        (&operands[..], rest_is_f32)
    else {
        return Err(operands);
    };
    let numbers = [q, k].map(|x| match dtype {
        IrDType::F8E4M3 => Flex::decode_f8(x.codes.clone(), &FlexDevice),
        _ => Flex::int_into_float(x.codes.clone(), FloatDType::F32),
    });
    let scales = [q, k].map(|x| x.scales.to_contiguous());
    let scales = scales.each_ref().map(|scales| scales.storage::<f32>());
    let bias = match op.bias(&operands) {
        Some(Value::Float(bias)) => Some(bias),
        _ => None,
    };
    let made = attention::attention(op, [&numbers[0], &numbers[1], v], Some(scales), bias);
    made.map(Value::Float).ok_or(operands)
}

/// Runs ops on images and on heads, and data movement, if all operands are f32; returns the operands otherwise.
fn of_numbers(op: &Op, operands: Vec<Value<Flex>>, fact: &Fact) -> Result<Value<Flex>, Vec<Value<Flex>>> {
    let is_f32 = |operand: &Value<Flex>| matches!(operand, Value::Float(x) if x.dtype() == DType::F32);
    if !operands.iter().all(is_f32) {
        return Err(operands);
    }
    let mut tensors: Vec<FlexTensor> = operands.into_iter().map(|x| x.float(&FlexDevice)).collect();
    let made = match (op, &mut tensors[..]) {
        (Op::Conv2d(op), [x, kernels, bias @ ..]) => conv2d::conv2d(op, x, kernels, bias.first()),
        (Op::Attention(op), operands @ [_, _, _, ..]) => {
            let [q, k, v] = [0, 1, 2].map(|index| &operands[index]);
            attention::attention(op, [q, k, v], None, op.bias(operands))
        }
        (Op::Reshape(_), [x]) => Some(data::reshape(x, &burn_shape(&fact.shape))),
        (Op::Concat(op), parts) => Some(data::concat(parts, axis_index(op.axis, fact.shape.len()))),
        (Op::Upsample(op), [x]) => Some(upsample::upsample(x, op.factor)),
        (Op::GroupNorm(op), [x, weight, bias]) => {
            group_norm::group_norm(op, x, weight, bias);
            Some(tensors.swap_remove(0))
        }
        _ => None,
    };
    made.map(Value::Float).ok_or_else(|| tensors.into_iter().map(Value::Float).collect())
}
