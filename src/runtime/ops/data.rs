//! Look-ups, pooling and data movement.

use super::{extents, in_f32};
use crate::RunError;
use crate::backend::BurnBackend;
use crate::value::{Value, burn_shape};
use burn::tensor::ops::{FloatTensor, IntTensor, InterpolateMode, InterpolateOptions};
use burn::tensor::{Shape, Slice as BurnSlice, TensorData, TensorMetadata};
use reflux_ir::op::{AvgPool2d, MaxPool2d, Slice, axis_index};
use reflux_ir::{Fact, HostTensor};

/// Rows `ids` of `table`; the result is of type `fact`.
pub fn embedding<B: BurnBackend>(ids: IntTensor<B>, table: FloatTensor<B>, fact: &Fact) -> FloatTensor<B> {
    let count = ids.shape().num_elements();
    let flat = B::int_reshape(ids, Shape::new([count]));
    B::float_reshape(B::float_select(table, 0, flat), burn_shape(&fact.shape))
}

/// Refuses an `index` beyond the entries of `table` along `axis`: of several tables in one tensor, another one would be read.
pub fn check_entries<B: BurnBackend>(
    index: &Value<B>,
    fact: &Fact,
    op: &'static str,
    table: &Fact,
    axis: usize,
) -> Result<(), RunError> {
    let entries = table.shape[axis];
    let host = index.clone().download(fact, op)?;
    let mut indices =
        host.bytes.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four")));
    match indices.find(|&index| !usize::try_from(index).is_ok_and(|index| index < entries)) {
        None => Ok(()),
        Some(index) => Err(RunError::NoSuchEntry { op, index, entries, table: table.clone() }),
    }
}

/// See [`MaxPool2d`].
pub fn max_pool2d<B: BurnBackend>(op: &MaxPool2d, x: FloatTensor<B>) -> FloatTensor<B> {
    B::max_pool2d(x, [op.kernel; 2], [op.stride; 2], [0; 2], [1; 2], false)
}

/// See [`AvgPool2d`].
pub fn avg_pool2d<B: BurnBackend>(op: &AvgPool2d, x: FloatTensor<B>) -> FloatTensor<B> {
    in_f32::<B>(x, |x| B::avg_pool2d(x, [op.kernel; 2], [op.stride; 2], [0; 2], true, false))
}

/// See [`reflux_ir::op::Argmax`]. Computed on the host, where the first of equal elements is sure to win.
pub fn argmax<B: BurnBackend>(x: Value<B>, fact: &Fact, device: &B::Device) -> Result<Value<B>, RunError> {
    let host = x.download(fact, "argmax")?;
    let (&columns, rows) = host.shape.split_last().expect("verified");
    let values: Vec<i32> =
        host.bytes.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four"))).collect();
    let first_of_largest = |row: &[i32]| {
        let largest = row.iter().max().expect("verified");
        row.iter().position(|value| value == largest).expect("it is there") as i32
    };
    let indices: Vec<i32> = values.chunks_exact(columns).map(first_of_largest).collect();
    Ok(Value::upload(HostTensor::from_i32(rows, &indices), device))
}

/// See [`reflux_ir::op::Select`]; `index_fact` is the index's, `fact` the result's.
pub fn select<B: BurnBackend>(
    x: Value<B>,
    index: Value<B>,
    index_fact: &Fact,
    fact: &Fact,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let index = index.int(device);
    let prefix = index_fact.shape.len();
    let rows = index_fact.shape.elements();
    let rest: usize = fact.shape[prefix..].iter().product();
    let entries = match &x {
        Value::Float(x) => x.shape()[prefix],
        Value::Int(x) => x.shape()[prefix],
        Value::Scalar(..) | Value::Quantized(_) => unreachable!("inference refuses these here"),
    };
    let mut index = B::int_reshape(index, Shape::new([rows]));
    // Row r of the index selects from the entries r·n … r·n + n − 1 of the flattened axis.
    if rows > 1 {
        let offsets: Vec<i32> = (0..rows).map(|row| (row * entries) as i32).collect();
        let offsets = B::int_from_data(TensorData::new(offsets, Shape::new([rows])), device);
        index = B::int_add(index, offsets);
    }
    let flat = Shape::new([rows * entries, rest]);
    let result = burn_shape(&fact.shape);
    Ok(match x {
        Value::Int(x) => Value::Int(B::int_reshape(B::int_select(B::int_reshape(x, flat), 0, index), result)),
        x => {
            let x = B::float_reshape(x.float(device), flat);
            Value::Float(B::float_reshape(B::float_select(x, 0, index), result))
        }
    })
}

/// The same elements under another shape.
pub fn reshape<B: BurnBackend>(x: Value<B>, shape: &[usize]) -> Value<B> {
    let shape = burn_shape(shape);
    match x {
        Value::Float(x) => Value::Float(B::float_reshape(x, shape)),
        Value::Int(x) => Value::Int(B::int_reshape(x, shape)),
        Value::Scalar(..) | Value::Quantized(_) => {
            unreachable!("numbers are tensors here, and codes refused")
        }
    }
}

/// Axes in another order.
pub fn transpose<B: BurnBackend>(x: Value<B>, perm: &[usize]) -> Value<B> {
    match x {
        scalar if perm.is_empty() => scalar,
        Value::Float(x) => Value::Float(B::float_permute(x, perm)),
        Value::Int(x) => Value::Int(B::int_permute(x, perm)),
        Value::Scalar(..) | Value::Quantized(_) => {
            unreachable!("numbers are tensors here, and codes refused")
        }
    }
}

/// See [`Slice`].
pub fn slice<B: BurnBackend>(x: Value<B>, op: &Slice) -> Value<B> {
    let ranges = |rank: usize| -> Vec<BurnSlice> {
        let axis = axis_index(op.axis, rank);
        (0..rank)
            .map(|i| if i == axis { BurnSlice::from(op.start..op.end) } else { BurnSlice::from(..) })
            .collect()
    };
    match x {
        Value::Float(x) => {
            let ranges = ranges(x.shape().num_dims());
            Value::Float(B::float_slice(x, &ranges))
        }
        Value::Int(x) => {
            let ranges = ranges(x.shape().num_dims());
            Value::Int(B::int_slice(x, &ranges))
        }
        Value::Scalar(..) | Value::Quantized(_) => {
            unreachable!("numbers are tensors here, and codes refused")
        }
    }
}

/// Concatenates `parts` along `axis`.
pub fn concat<B: BurnBackend>(parts: Vec<Value<B>>, axis: usize) -> Value<B> {
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for part in parts {
        match part {
            Value::Float(x) => floats.push(x),
            Value::Int(x) => ints.push(x),
            Value::Scalar(..) | Value::Quantized(_) => unreachable!("inference refuses these here"),
        }
    }
    if floats.is_empty() {
        Value::Int(B::int_cat(ints, axis))
    } else {
        Value::Float(B::float_cat(floats, axis))
    }
}

/// Nearest-neighbour enlargement of the last two axes.
pub fn upsample<B: BurnBackend>(x: FloatTensor<B>, factor: usize) -> FloatTensor<B> {
    let shape = extents::<B>(&x);
    let options = InterpolateOptions::new(InterpolateMode::Nearest);
    B::interpolate(x, [shape[2] * factor, shape[3] * factor], options)
}
