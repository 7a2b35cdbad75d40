//! What the processor runs by itself: chains of element-wise ops cost burn-flex a pass over memory each, so activations
//! and rotations are done in one; and products that burn-flex thinks too small for several threads are divided.

mod int8;
mod quantized;

use super::quantized::{self as composed, Factor};
use super::{Target, attention, elementwise, matrix, with_rank};
use crate::RunError;
use crate::coded::Coded;
use crate::value::Value;
use burn::tensor::ops::{AttentionModuleOptions, FloatTensor, FloatTensorOps, IntTensor, ModuleOps};
use burn::tensor::{DType, Shape, Slice, TensorData};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use pulp::Arch;
use rayon::prelude::*;
use reflux_ir::op::{Attention, Quantize, Unary};
use reflux_ir::{DType as IrDType, Fact};
use std::f64::consts::FRAC_2_PI;

/// Fewer elements than this are not worth handing to another thread.
const CHUNK: usize = 1 << 15;

/// Multiply-adds that one thread takes of a product: below what burn-flex divides by itself, which it does less well.
const SHARE: usize = 6 << 20;

impl Target for Flex {
    fn unary(function: Unary, x: FloatTensor<Self>) -> FloatTensor<Self> {
        match (function, x.dtype()) {
            (Unary::Silu, DType::F32) => map(x, |x| x * sigmoid(x)),
            (Unary::QuickGelu, DType::F32) => map(x, |x| x * sigmoid(1.702 * x)),
            // ½ (1 + tanh u) = σ(2u)
            (Unary::GeluTanh, DType::F32) => {
                let scale = (2.0 * FRAC_2_PI.sqrt()) as f32;
                map(x, move |x| x * sigmoid(scale * (x + 0.044_715 * x * x * x)))
            }
            _ => elementwise::unary::<Self>(function, x),
        }
    }

    fn rope(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 {
            return super::position::rope::<Self>(x, table);
        }
        let shape = x.layout().shape().to_vec();
        let [tokens, heads, dim] = [shape[1], shape[2], shape[3]];
        let table = table.to_contiguous();
        let (cos, sin) = table.storage::<f32>().split_at(tokens * dim / 2);
        in_place(x, |values| {
            values.par_chunks_exact_mut(heads * dim).enumerate().for_each(|(row, token)| {
                let angles = (row % tokens) * dim / 2..(row % tokens + 1) * dim / 2;
                let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
                for head in token.chunks_exact_mut(dim) {
                    for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos.iter().zip(sin))
                    {
                        let [a, b] = *pair;
                        *pair = [a * cos - b * sin, b * cos + a * sin];
                    }
                }
            });
        })
    }

    fn project(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        let mut shape = x.layout().shape().to_vec();
        let out = weight.layout().shape()[0];
        let features = shape.pop().expect("verified");
        let rows: usize = shape.iter().product();
        let shares = (rows * features * out).div_ceil(SHARE).next_multiple_of(rayon::current_num_threads());
        let width = out.div_ceil(shares);
        if x.dtype() != DType::F32 || rows * features * out < SHARE / 4 || width < 16 {
            return matrix::linear::<Self>(x, weight, bias);
        }
        let x = Self::float_reshape(x, Shape::new([rows, features]));
        let columns: Vec<FlexTensor> = (0..out)
            .into_par_iter()
            .step_by(width)
            .map(|start| {
                let rows = Slice::from(start..(start + width).min(out));
                let part = Self::float_slice(weight.clone(), &[rows]);
                Self::float_matmul(x.clone(), Self::float_transpose(part))
            })
            .collect();
        shape.push(out);
        let bias = bias.map(|bias| bias.to_contiguous());
        let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
        beside(&columns, bias, rows, Shape::from(shape))
    }

    fn scaled_dot_product_attention(
        op: &Attention,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        if q.dtype() != DType::F32 {
            return attention::composed::<Self>(op, q, k, v, bias);
        }
        let options = AttentionModuleOptions { scale: Some(op.scale.0), softcap: None, is_causal: op.causal };
        let heads = q.layout().shape()[2];
        let bias = bias.map(|bias| with_rank::<Self>(bias, 4));
        let parts = (0..heads).into_par_iter().map(|head| {
            let full = Slice::from(..);
            let one = Slice::from(head..head + 1);
            let [q, k, v] = [&q, &k, &v].map(|x| {
                let x = Self::float_slice(x.clone(), &[full, full, one, full]);
                Self::float_permute(x, &[0, 2, 1, 3])
            });
            let bias = bias.clone().map(|bias| match bias.layout().shape()[1] {
                1 => bias,
                _ => Self::float_slice(bias, &[full, one]),
            });
            let out = <Self as ModuleOps<Self>>::attention(q, k, v, None, bias, options);
            Self::float_permute(out, &[0, 2, 1, 3])
        });
        Self::float_cat(parts.collect(), 2)
    }

    fn encode(
        op: &Quantize,
        x: FloatTensor<Self>,
        fact: &Fact,
        device: &FlexDevice,
    ) -> Result<Coded<Self>, RunError> {
        match x.dtype() {
            DType::F32 => Ok(quantized::quantize(op, &x, fact, device)),
            _ => composed::quantize::<Self>(op, x, fact, device),
        }
    }

    fn matmul_i8(x: IntTensor<Self>, weight: IntTensor<Self>) -> IntTensor<Self> {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let mut shape = x.layout().shape().to_vec();
        let features = shape.pop().expect("verified");
        let out = weight.layout().shape()[0];
        let rows = shape.iter().product();
        let y = int8::product(x.storage::<i8>(), weight.storage::<i8>(), [rows, features, out]);
        shape.push(out);
        FlexTensor::from_data(TensorData::new(y, Shape::from(shape)))
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
                quantized::rescale(acc, x, weight, bias, fact)
            }
            Value::Float(acc) if all_f32 && acc.dtype() == DType::F32 => {
                quantized::rescale(acc, x, weight, bias, fact)
            }
            acc => composed::rescale_rows::<Self>(acc, x, weight, bias, fact, device),
        }
    }
}

/// Matrices of as many rows each, side by side, plus `bias` in every row.
fn beside(columns: &[FlexTensor], bias: Option<&[f32]>, rows: usize, shape: Shape) -> FlexTensor {
    let parts: Vec<(&[f32], usize)> =
        columns.iter().map(|part| (part.storage::<f32>(), part.layout().shape()[1])).collect();
    let out = parts.iter().map(|(_, width)| width).sum::<usize>();
    let mut values = Vec::with_capacity(rows * out);
    for row in 0..rows {
        let start = values.len();
        for (part, width) in &parts {
            values.extend_from_slice(&part[row * width..(row + 1) * width]);
        }
        if let Some(bias) = bias {
            for (value, bias) in values[start..].iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// `function` of each element of an f32 tensor, compiled for the widest vectors that this processor has.
fn map(x: FlexTensor, function: impl Fn(f32) -> f32 + Copy + Sync) -> FlexTensor {
    let arch = Arch::new();
    in_place(x, |values| {
        values.par_chunks_mut(CHUNK).for_each(|chunk| {
            arch.dispatch(
                #[inline(always)]
                || {
                    for value in chunk {
                        *value = function(*value);
                    }
                },
            );
        });
    })
}

/// Changes the elements of an f32 tensor, in row-major order; in its own memory, if nothing else reads it.
fn in_place(x: FlexTensor, change: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut x = contiguous(x);
    if let Some(values) = x.try_storage_mut::<f32>() {
        change(values);
        return x;
    }
    let mut values = x.as_slice::<f32>().expect("made contiguous").to_vec();
    change(&mut values);
    FlexTensor::from_data(TensorData::new(values, Shape::from(x.layout().shape().to_vec())))
}

/// `x` in row-major order. It takes `x`, so that the result can be the only one to read the memory.
fn contiguous(x: FlexTensor) -> FlexTensor {
    x.to_contiguous()
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `eˣ` within 2 ulp, without branches, so that loops over it become vector code (Cephes, `expf.c`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or ∞ to within what a sigmoid can tell.
    let x = x.clamp(-87.3, 88.7);
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the lowest bits; a conversion would cost more than the rest.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts, the first of few bits, so that its product is exact.
    let x = x - power * (355.0 / 512.0) + power * 2.121_944_4e-4;
    let mut polynomial = 1.987_569_2e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * x + coefficient;
    }
    let fraction = polynomial * x * x + x + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    f32::from_bits(exponent << 23) * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible values in −10…10.
    fn values(count: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 * 20.0 - 10.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn tensor(values: &[f32], shape: &[usize]) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(values.to_vec(), Shape::from(shape.to_vec())))
    }

    fn assert_same(a: FlexTensor, b: FlexTensor, tolerance: f32) {
        let (a, b) = (a.to_contiguous(), b.to_contiguous());
        assert_eq!(a.layout().shape(), b.layout().shape());
        for (a, b) in a.storage::<f32>().iter().zip(b.storage::<f32>()) {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} is not {b}");
        }
    }

    #[test]
    fn exp_is_within_two_ulp() {
        for x in values(100_000).into_iter().map(|x| x * 8.7) {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::EPSILON) * exact;
            assert!((f64::from(exp(x)) - exact).abs() <= 2.0 * ulp, "exp({x})");
        }
    }

    #[test]
    fn activations_are_the_composed_ones() {
        let x = values(3 * CHUNK + 17);
        for function in [Unary::Silu, Unary::QuickGelu, Unary::GeluTanh, Unary::Gelu] {
            let fast = Flex::unary(function, tensor(&x, &[x.len()]));
            assert_same(fast, elementwise::unary::<Flex>(function, tensor(&x, &[x.len()])), 1e-6);
        }
    }

    #[test]
    fn only_a_tensor_that_nothing_else_reads_is_changed() {
        let x = tensor(&[1.0, -2.0], &[2]);
        let kept = x.clone();
        let y = Flex::unary(Unary::Silu, x);
        assert_eq!(kept.storage::<f32>(), [1.0, -2.0]);
        let place = y.storage::<f32>().as_ptr();
        assert_eq!(Flex::unary(Unary::Silu, y).storage::<f32>().as_ptr(), place);
    }

    #[test]
    fn rope_is_the_composed_one() {
        let x = values(2 * 5 * 3 * 8);
        let table = values(2 * 5 * 4);
        let fast = Flex::rope(tensor(&x, &[2, 5, 3, 8]), tensor(&table, &[2, 5, 4]));
        let composed =
            super::super::position::rope::<Flex>(tensor(&x, &[2, 5, 3, 8]), tensor(&table, &[2, 5, 4]));
        assert_same(fast, composed, 1e-6);
    }

    #[test]
    fn products_are_the_same_divided() {
        // 2 · 3 rows; the number of columns is no multiple of what a thread takes.
        for (features, out) in [(512, 2051), (64, 33)] {
            let x = tensor(&values(2 * 3 * features), &[2, 3, features]);
            let weight = tensor(&values(out * features), &[out, features]);
            let bias = tensor(&values(out), &[out]);
            for bias in [None, Some(bias)] {
                let whole = matrix::linear::<Flex>(x.clone(), weight.clone(), bias.clone());
                assert_same(Flex::project(x.clone(), weight.clone(), bias), whole, 1e-4);
            }
        }
    }

    #[test]
    fn attention_is_the_composed_one() {
        let part =
            |offset: usize| tensor(&values(4 * 2 * 7 * 3 * 4)[offset..offset + 2 * 7 * 3 * 4], &[2, 7, 3, 4]);
        let bias = tensor(&values(3 * 7 * 7), &[1, 3, 7, 7]);
        for causal in [false, true] {
            let op = Attention { scale: 0.1.into(), causal };
            let (q, k, v) = (part(0), part(11), part(50));
            let fast =
                Flex::scaled_dot_product_attention(&op, q.clone(), k.clone(), v.clone(), Some(bias.clone()));
            assert_same(fast, attention::composed::<Flex>(&op, q, k, v, Some(bias.clone())), 1e-5);
        }
    }
}
