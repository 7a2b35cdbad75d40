//! Positions and their embeddings. Tables are computed on the host: they are small, and their rounding matters.

use super::{extents, in_f32};
use crate::backend::BurnBackend;
use crate::value::float_dtype;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Slice, TensorData};
use reflux_ir::op::{PositionIds, RelativeBuckets, RopeTable, TimestepEmbedding};
use reflux_ir::{DType, HostTensor};

/// See [`PositionIds`].
pub fn position_ids(op: &PositionIds) -> HostTensor {
    let text = std::iter::repeat_n([0.0; 3], op.text);
    let image = (0..op.rows)
        .flat_map(|row| (0..op.columns).map(move |column| [op.time, row, column].map(|id| id as f32)));
    let ids: Vec<f32> = text.chain(image).flatten().collect();
    HostTensor::from_f32([ids.len() / 3, 3], &ids)
}

/// See [`RelativeBuckets`].
pub fn relative_buckets(op: &RelativeBuckets) -> HostTensor {
    let ids: Vec<i32> = (0..op.length)
        .flat_map(|query| (0..op.length).map(move |key| bucket(op, key as i64 - query as i64)))
        .collect();
    HostTensor::from_i32([op.length, op.length], &ids)
}

fn bucket(op: &RelativeBuckets, distance: i64) -> i32 {
    let half = op.buckets / 2;
    let exact = half / 2;
    let sign = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return (sign + distance) as i32;
    }
    // In f32, as in transformers: the truncation below depends on the last bit.
    let ratio = (distance as f32 / exact as f32).ln() / (op.max_distance as f64 / exact as f64).ln() as f32;
    let large = exact + (ratio * (half - exact) as f32) as usize;
    (sign + large.min(half - 1)) as i32
}

/// See [`RopeTable`]; `ids` is `f32[tokens, axes]`.
pub fn rope_table(op: &RopeTable, ids: &HostTensor) -> HostTensor {
    let ids = ids.to_f32();
    let frequencies: Vec<(usize, f64)> = op
        .axes
        .iter()
        .enumerate()
        .flat_map(|(axis, &dim)| {
            (0..dim / 2).map(move |j| (axis, op.theta.0.powf(-((2 * j) as f64 / dim as f64))))
        })
        .collect();
    let angles: Vec<f64> = ids
        .chunks_exact(op.axes.len())
        .flat_map(|id| frequencies.iter().map(|&(axis, frequency)| f64::from(id[axis]) * frequency))
        .collect();
    let cos = angles.iter().map(|angle| angle.cos() as f32);
    let table: Vec<f32> = cos.chain(angles.iter().map(|angle| angle.sin() as f32)).collect();
    HostTensor::from_f32([2, ids.len() / op.axes.len(), frequencies.len()], &table)
}

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

/// The frequencies of `op`, rounded to f32 as in diffusers; `t` reaches 1000 and more, so the rounding matters.
pub fn frequencies(op: &TimestepEmbedding) -> Vec<f32> {
    let half = op.dim / 2;
    let scale = -op.max_period.0.ln() as f32;
    (0..half).map(|i| (scale * i as f32 / half as f32).exp()).collect()
}

/// See [`TimestepEmbedding`]; `shape` is the result's.
pub fn timestep_embedding<B: BurnBackend>(
    op: &TimestepEmbedding,
    t: FloatTensor<B>,
    shape: &[usize],
    device: &B::Device,
) -> FloatTensor<B> {
    let half = op.dim / 2;
    let frequencies = frequencies(op);
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
    fn buckets_are_those_of_transformers() {
        // T5Attention._relative_position_bucket(-130..=130 step 13, bidirectional, 32 buckets, 128)
        let op = RelativeBuckets { length: 1, buckets: 32, max_distance: 128 };
        let distances = [-130, -64, -20, -8, -7, -1, 0, 1, 7, 8, 20, 64, 130];
        let expected = [15, 14, 10, 8, 7, 1, 0, 17, 23, 24, 26, 30, 31];
        assert_eq!(distances.map(|distance| bucket(&op, distance)), expected);
    }

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

    #[test]
    fn rope_table_concatenates_axes() {
        let op = RopeTable { axes: vec![2, 4], theta: Real::from(100.0) };
        let table = rope_table(&op, &HostTensor::from_f32([1, 2], &[1.0, 2.0])).to_f32();
        let angles = [1.0f64, 2.0, 2.0 / 10.0];
        let expected: Vec<f32> =
            angles.iter().map(|a| a.cos() as f32).chain(angles.iter().map(|a| a.sin() as f32)).collect();
        assert_eq!(table, expected);
    }
}
