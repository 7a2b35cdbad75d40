//! Embeddings of positions and times. Tables are computed on the host by their ops: they are small, and their rounding matters.

use super::{extents, in_f32};
use crate::backend::BurnBackend;
use crate::value::float_dtype;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Slice, TensorData};
use reflux_ir::DType;
use reflux_ir::op::TimestepEmbedding;

/// See [`reflux_ir::op::Rope`].
pub fn rope<B: BurnBackend>(x: FloatTensor<B>, table: FloatTensor<B>) -> FloatTensor<B> {
    let shape = extents::<B>(&x);
    let [batch, tokens, heads, dim] = [shape[0], shape[1], shape[2], shape[3]];
    let part = |index: usize| {
        let row = B::float_slice(table.clone(), &[Slice::from(index..index + 1)]);
        B::float_reshape(row, Shape::new([1, tokens, 1, dim / 2, 1]))
    };
    let (cos, sin) = (part(0), part(1));
    in_f32::<B>(x, |x| {
        let pairs = B::float_reshape(x, Shape::new([batch, tokens, heads, dim / 2, 2]));
        let full = Slice::from(..);
        let half = |index: usize| {
            B::float_slice(pairs.clone(), &[full, full, full, full, Slice::from(index..index + 1)])
        };
        let (a, b) = (half(0), half(1));
        let first = B::float_sub(B::float_mul(a.clone(), cos.clone()), B::float_mul(b.clone(), sin.clone()));
        let second = B::float_add(B::float_mul(b, cos), B::float_mul(a, sin));
        B::float_reshape(B::float_cat(vec![first, second], 4), Shape::from(shape))
    })
}

/// See [`TimestepEmbedding`]; `shape` is the result's.
pub fn timestep_embedding<B: BurnBackend>(
    op: &TimestepEmbedding,
    t: FloatTensor<B>,
    shape: &[usize],
    device: &B::Device,
) -> FloatTensor<B> {
    let half = op.dim / 2;
    let frequencies = op.frequencies();
    let frequencies = B::float_from_data(TensorData::new(frequencies, Shape::new([1, half])), device);
    let count = extents::<B>(&t).iter().product();
    let t = B::float_reshape(B::float_cast(t, float_dtype(DType::F32)), Shape::new([count, 1]));
    let angles = B::float_mul(t, frequencies);
    let embedding = B::float_cat(vec![B::float_cos(angles.clone()), B::float_sin(angles)], 1);
    B::float_reshape(embedding, Shape::from(shape.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::burn_shape;
    use reflux_ir::op::Real;

    #[test]
    fn timesteps_of_any_shape_are_embedded_alike() {
        let op = TimestepEmbedding { dim: 6, max_period: Real::from(100.0) };
        let timesteps = [0.0, 0.5, 1.0, 2.0, 30.0, 1000.0];
        let embed = |shape: &[usize]| {
            let t = burn_flex::FlexTensor::from_data(TensorData::new(timesteps.to_vec(), burn_shape(shape)));
            let result = [shape, &[6]].concat();
            let embedding = timestep_embedding::<burn_flex::Flex>(&op, t, &result, &burn_flex::FlexDevice);
            assert_eq!(extents::<burn_flex::Flex>(&embedding), result);
            embedding.storage::<f32>().to_vec()
        };
        let flat = embed(&[6]);
        assert_eq!(flat[..6], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(embed(&[3, 2]), flat);
        assert_eq!(embed(&[3, 1, 2]), flat);
    }
}
