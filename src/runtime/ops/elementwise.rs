//! Ops that work element by element.

use super::{extents, in_f32, with_rank};
use crate::backend::BurnBackend;
use crate::value::{Value, burn_shape, float_dtype, int_dtype};
use burn::tensor::ops::{BoolTensor, FloatTensor, IntTensor};
use burn::tensor::{BoolDType, Shape, TensorMetadata, get_device_settings};
use reflux_ir::op::{Binary, Unary};
use reflux_ir::{DType, Fact};
use std::f64::consts::FRAC_2_PI;

/// See [`Unary`].
pub fn unary<B: BurnBackend>(function: Unary, x: FloatTensor<B>) -> FloatTensor<B> {
    in_f32::<B>(x, |x| match function {
        Unary::Silu => B::float_mul(x.clone(), B::sigmoid(x)),
        Unary::Gelu => B::gelu(x),
        Unary::QuickGelu => B::float_mul(x.clone(), B::sigmoid(B::float_mul_scalar(x, 1.702.into()))),
        Unary::Exp => B::float_exp(x),
        Unary::Tanh => B::float_tanh(x),
        Unary::Sigmoid => B::sigmoid(x),
        Unary::Erf => B::float_erf(x),
        Unary::Sqrt => B::float_sqrt(x),
        Unary::Log => B::float_log(x),
        Unary::Sin => B::float_sin(x),
        Unary::Cos => B::float_cos(x),
        Unary::GeluTanh => {
            // x³ as products: `powf` is many times slower on the CPU.
            let cubed = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
            let inner = B::float_add(x.clone(), B::float_mul_scalar(cubed, 0.044715.into()));
            let tanh = B::float_tanh(B::float_mul_scalar(inner, FRAC_2_PI.sqrt().into()));
            B::float_mul(B::float_mul_scalar(x, 0.5.into()), B::float_add_scalar(tanh, 1.0.into()))
        }
    })
}

/// See [`Binary`].
pub fn binary<B: BurnBackend>(op: Binary, a: Value<B>, b: Value<B>, device: &B::Device) -> Value<B> {
    match (a.into_tensor(device), b) {
        (Value::Float(a), Value::Scalar(b, _)) => Value::Float(float_scalar::<B>(op, a, b, device)),
        (a @ Value::Int(_), b) => {
            let (a, b) = (a.int(device), b.int(device));
            let rank = a.shape().num_dims().max(b.shape().num_dims());
            int(op, int_with_rank::<B>(a, rank), int_with_rank::<B>(b, rank), device)
        }
        (a, b) => {
            let (a, b) = (a.float(device), b.float(device));
            let rank = extents::<B>(&a).len().max(extents::<B>(&b).len());
            Value::Float(float::<B>(op, with_rank::<B>(a, rank), with_rank::<B>(b, rank), device))
        }
    }
}

fn float<B: BurnBackend>(
    op: Binary,
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    device: &B::Device,
) -> FloatTensor<B> {
    match op {
        // burn-flex broadcasts its right operand many times faster than its left one.
        Binary::Add | Binary::Mul if a.shape().num_elements() < b.shape().num_elements() => {
            float::<B>(op, b, a, device)
        }
        Binary::Add => B::float_add(a, b),
        Binary::Sub => B::float_sub(a, b),
        Binary::Mul => B::float_mul(a, b),
        Binary::Div => B::float_div(a, b),
        Binary::Equal => {
            let dtype = a.dtype();
            let equal = B::float_equal(a, b, get_device_settings::<B>(device).bool_dtype);
            B::bool_into_float(equal, dtype.into())
        }
        Binary::Less => {
            let dtype = a.dtype();
            let less = B::float_lower(a, b, get_device_settings::<B>(device).bool_dtype);
            B::bool_into_float(less, dtype.into())
        }
        Binary::Min => first_where::<B>(a, b, B::float_lower, device),
        Binary::Max => first_where::<B>(a, b, B::float_greater, device),
        Binary::Pow => {
            let wide = float_dtype(DType::F32);
            in_f32::<B>(a, |a| B::float_powf(a, B::float_cast(b, wide)))
        }
    }
}

/// `a` where `compare(a, b)` is true or `a` is NaN, else `b`.
fn first_where<B: BurnBackend>(
    a: FloatTensor<B>,
    b: FloatTensor<B>,
    compare: impl Fn(FloatTensor<B>, FloatTensor<B>, BoolDType) -> BoolTensor<B>,
    device: &B::Device,
) -> FloatTensor<B> {
    let shape = a.shape().broadcast(&b.shape()).expect("inference has checked that the operands broadcast");
    let [a, b] = [a, b].map(|x| B::float_expand(x, shape.clone()));
    let dtype = get_device_settings::<B>(device).bool_dtype;
    let is_first = B::bool_or(compare(a.clone(), b.clone(), dtype), B::float_is_nan(a.clone(), dtype));
    B::float_mask_where(b, is_first, a)
}

fn float_scalar<B: BurnBackend>(op: Binary, a: FloatTensor<B>, b: f64, device: &B::Device) -> FloatTensor<B> {
    match op {
        Binary::Add => B::float_add_scalar(a, b.into()),
        Binary::Sub => B::float_sub_scalar(a, b.into()),
        Binary::Mul => B::float_mul_scalar(a, b.into()),
        Binary::Div => B::float_div_scalar(a, b.into()),
        Binary::Equal => {
            let dtype = a.dtype();
            let equal = B::float_equal_elem(a, b.into(), get_device_settings::<B>(device).bool_dtype);
            B::bool_into_float(equal, dtype.into())
        }
        Binary::Less => {
            let dtype = a.dtype();
            let less = B::float_lower_elem(a, b.into(), get_device_settings::<B>(device).bool_dtype);
            B::bool_into_float(less, dtype.into())
        }
        // NaN compares as false with everything, and stays.
        Binary::Min => {
            let dtype = get_device_settings::<B>(device).bool_dtype;
            B::float_mask_fill(a.clone(), B::float_greater_equal_elem(a, b.into(), dtype), b.into())
        }
        Binary::Max => {
            let dtype = get_device_settings::<B>(device).bool_dtype;
            B::float_mask_fill(a.clone(), B::float_lower_equal_elem(a, b.into(), dtype), b.into())
        }
        Binary::Pow => in_f32::<B>(a, |a| B::float_powf_scalar(a, b.into())),
    }
}

fn int<B: BurnBackend>(op: Binary, a: IntTensor<B>, b: IntTensor<B>, device: &B::Device) -> Value<B> {
    Value::Int(match op {
        Binary::Add => B::int_add(a, b),
        Binary::Sub => B::int_sub(a, b),
        Binary::Mul => B::int_mul(a, b),
        Binary::Div => unreachable!("inference refuses integers here"),
        Binary::Equal => {
            let dtype = a.dtype();
            let equal = B::int_equal(a, b, get_device_settings::<B>(device).bool_dtype);
            B::bool_into_int(equal, dtype.into())
        }
        Binary::Less => {
            let dtype = a.dtype();
            let less = B::int_lower(a, b, get_device_settings::<B>(device).bool_dtype);
            B::bool_into_int(less, dtype.into())
        }
        Binary::Min => first_int_where::<B>(a, b, B::int_lower, device),
        Binary::Max => first_int_where::<B>(a, b, B::int_greater, device),
        Binary::Pow => unreachable!("inference refuses powers of integers"),
    })
}

/// `a` where `compare(a, b)` is true, else `b`.
fn first_int_where<B: BurnBackend>(
    a: IntTensor<B>,
    b: IntTensor<B>,
    compare: impl Fn(IntTensor<B>, IntTensor<B>, BoolDType) -> BoolTensor<B>,
    device: &B::Device,
) -> IntTensor<B> {
    let shape = a.shape().broadcast(&b.shape()).expect("inference has checked that the operands broadcast");
    let [a, b] = [a, b].map(|x| B::int_expand(x, shape.clone()));
    let is_first = compare(a.clone(), b.clone(), get_device_settings::<B>(device).bool_dtype);
    B::int_mask_where(b, is_first, a)
}

fn int_with_rank<B: BurnBackend>(x: IntTensor<B>, rank: usize) -> IntTensor<B> {
    let mut shape = x.shape().to_vec();
    if shape.len() == rank {
        return x;
    }
    shape.splice(0..0, std::iter::repeat_n(1, rank.saturating_sub(shape.len())));
    B::int_reshape(x, Shape::from(shape))
}

/// See [`reflux_ir::op::Where`].
pub fn choose<B: BurnBackend>(
    condition: FloatTensor<B>,
    a: Value<B>,
    b: Value<B>,
    fact: &Fact,
    device: &B::Device,
) -> Value<B> {
    // burn has no rank 0.
    let shape = burn_shape(&fact.shape);
    let rank = fact.shape.len().max(1);
    let condition = B::float_expand(with_rank::<B>(condition, rank), shape.clone());
    let chosen = B::float_not_equal_elem(condition, 0.0.into(), get_device_settings::<B>(device).bool_dtype);
    if fact.dtype.is_float() {
        let [a, b] = [a, b].map(|x| B::float_expand(with_rank::<B>(x.float(device), rank), shape.clone()));
        return Value::Float(B::float_mask_where(b, chosen, a));
    }
    let [a, b] = [a, b].map(|x| B::int_expand(int_with_rank::<B>(x.int(device), rank), shape.clone()));
    Value::Int(B::int_mask_where(b, chosen, a))
}

/// The value in another dtype.
pub fn cast<B: BurnBackend>(x: Value<B>, dtype: DType, device: &B::Device) -> Value<B> {
    match (x, dtype.is_float()) {
        (Value::Float(x), true) => Value::Float(B::float_cast(x, float_dtype(dtype))),
        (Value::Float(x), false) => Value::Int(B::float_into_int(B::float_round(x), int_dtype(dtype))),
        (Value::Int(x), true) => Value::Float(B::int_into_float(x, float_dtype(dtype))),
        (Value::Int(x), false) => Value::Int(B::int_cast(x, int_dtype(dtype))),
        (x @ Value::Scalar(..), _) => cast(x.into_tensor(device), dtype, device),
        (Value::Quantized(_), _) => unreachable!("inference refuses codes here"),
    }
}
