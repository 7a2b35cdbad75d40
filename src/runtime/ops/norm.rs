//! Normalisations and reductions, in f32.

use super::{extents, in_f32, with_rank};
use crate::backend::BurnBackend;
use crate::value::{burn_shape, float_dtype};
use burn::tensor::Shape;
use burn::tensor::ops::FloatTensor;
use reflux_ir::op::{GroupNorm, LayerNorm, Reduce, RmsNorm};
use reflux_ir::{DType, Fact};

/// See [`LayerNorm`]; the affine parameters apply in f32 too.
pub fn layer_norm<B: BurnBackend>(
    op: &LayerNorm,
    x: FloatTensor<B>,
    affine: Option<(FloatTensor<B>, FloatTensor<B>)>,
) -> FloatTensor<B> {
    let rank = extents::<B>(&x).len();
    in_f32::<B>(x, |x| {
        let y = standardize::<B>(x, op.eps.0);
        match affine {
            Some((weight, bias)) => {
                scale_shift::<B>(y, with_rank::<B>(weight, rank), with_rank::<B>(bias, rank))
            }
            None => y,
        }
    })
}

/// See [`RmsNorm`].
pub fn rms_norm<B: BurnBackend>(op: &RmsNorm, x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let rank = extents::<B>(&x).len();
    let y = in_f32::<B>(x, |x| {
        let mean_square = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), rank - 1);
        let rms = B::float_sqrt(B::float_add_scalar(mean_square, op.eps.0.into()));
        B::float_div(x, rms)
    });
    B::float_mul(y, with_rank::<B>(weight, rank))
}

/// See [`GroupNorm`].
pub fn group_norm<B: BurnBackend>(
    op: &GroupNorm,
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = extents::<B>(&x);
    let (batch, channels) = (shape[0], shape[1]);
    let per_group = shape[1..].iter().product::<usize>() / op.groups;
    let mut parameter = vec![1; shape.len()];
    parameter[1] = channels;
    in_f32::<B>(x, |x| {
        let grouped = B::float_reshape(x, Shape::new([batch, op.groups, per_group]));
        let y = B::float_reshape(standardize::<B>(grouped, op.eps.0), Shape::from(shape));
        let weight = B::float_reshape(weight, Shape::from(parameter.clone()));
        let bias = B::float_reshape(bias, Shape::from(parameter));
        scale_shift::<B>(y, weight, bias)
    })
}

/// See [`reflux_ir::op::Mean`]; the result is of type `fact`.
pub fn mean<B: BurnBackend>(x: FloatTensor<B>, fact: &Fact) -> FloatTensor<B> {
    let last = extents::<B>(&x).len() - 1;
    let x = B::float_cast(x, float_dtype(DType::F32));
    B::float_reshape(B::float_mean_dim(x, last), burn_shape(&fact.shape))
}

/// See [`Reduce`]; the result is of type `fact`.
pub fn reduce<B: BurnBackend>(op: Reduce, x: FloatTensor<B>, fact: &Fact) -> FloatTensor<B> {
    let last = extents::<B>(&x).len() - 1;
    let reduced = in_f32::<B>(x, |x| match op {
        Reduce::Sum => B::float_sum_dim(x, last),
        Reduce::Amax => B::float_max_dim(x, last),
    });
    B::float_reshape(reduced, burn_shape(&fact.shape))
}

/// See [`reflux_ir::op::Softmax`].
pub fn softmax<B: BurnBackend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = extents::<B>(&x).len() - 1;
    in_f32::<B>(x, |x| {
        let largest = B::float_max_dim(x.clone(), last);
        let exp = B::float_exp(B::float_sub(x, largest));
        let sum = B::float_sum_dim(exp.clone(), last);
        B::float_div(exp, sum)
    })
}

/// `(x - mean) / √(var + eps)` over the last axis.
fn standardize<B: BurnBackend>(x: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let last = extents::<B>(&x).len() - 1;
    let centered = B::float_sub(x.clone(), B::float_mean_dim(x, last));
    let variance = B::float_mean_dim(B::float_mul(centered.clone(), centered.clone()), last);
    B::float_div(centered, B::float_sqrt(B::float_add_scalar(variance, eps.into())))
}

fn scale_shift<B: BurnBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let f32 = float_dtype(DType::F32);
    B::float_add(B::float_mul(x, B::float_cast(weight, f32)), B::float_cast(bias, f32))
}
