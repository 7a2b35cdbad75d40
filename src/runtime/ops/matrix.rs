//! Contractions.

use super::{extents, in_f32, with_rank};
use crate::backend::BurnBackend;
use crate::value::float_dtype;
use burn::tensor::Shape;
use burn::tensor::ops::{ConvOptions, FloatTensor};
use reflux_ir::DType;
use reflux_ir::op::Conv2d;

/// See [`reflux_ir::op::Linear`].
pub fn linear<B: BurnBackend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let mut shape = extents::<B>(&x);
    let features = shape.pop().expect("verified");
    let rows: usize = shape.iter().product();
    let weight = match extents::<B>(&weight)[..] {
        [panels, _, rows] => {
            B::float_reshape(B::float_swap_dims(weight, 1, 2), Shape::new([panels * rows, features]))
        }
        _ => weight,
    };
    let out = extents::<B>(&weight)[0];
    let flat = B::float_reshape(x, Shape::new([rows, features]));
    let mut y = B::float_matmul(flat, B::float_transpose(weight));
    if let Some(bias) = bias {
        y = B::float_add(y, with_rank::<B>(bias, 2));
    }
    shape.push(out);
    B::float_reshape(y, Shape::from(shape))
}

/// `a · b`, leading axes broadcast.
pub fn matmul<B: BurnBackend>(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let rank = extents::<B>(&a).len().max(extents::<B>(&b).len());
    B::float_matmul(with_rank::<B>(a, rank), with_rank::<B>(b, rank))
}

/// See [`Conv2d`].
pub fn conv2d<B: BurnBackend>(
    op: &Conv2d,
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let options = ConvOptions::new([op.stride; 2], [op.padding; 2], [op.dilation; 2], op.groups);
    // Some of burn's kernels sum in the dtype of what they read.
    let wide = |x| B::float_cast(x, float_dtype(DType::F32));
    in_f32::<B>(x, |x| B::conv2d(x, wide(weight), bias.map(wide), options))
}
