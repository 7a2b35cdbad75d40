//! Quantized values on a backend.

use crate::f8e4m3;
use crate::quantize::{Quantized, grid};
use crate::value::{Value, burn_dtype, burn_shape, float_dtype, int_dtype};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData, TensorMetadata};
use reflux_ir::{DType, Fact};
use std::convert::Infallible;

/// Codes and what they are to be multiplied by; see [`reflux_ir::Scales`].
#[derive(Clone, Debug)]
pub struct Coded<B: Backend> {
    /// In the shape of the value, a byte each: `i8` as it is, `u4` unpacked, `f8e4m3` by its bits.
    pub codes: IntTensor<B>,
    /// f32 `[rows, groups]`: `[rows, 1]` where there is one per row, `[1, 1]` where there is one in all.
    pub scales: FloatTensor<B>,
    /// Beside the scales of `u4`.
    pub zeros: Option<FloatTensor<B>>,
}

impl<B: Backend> Coded<B> {
    /// Brings what was quantized on the host, a value of type `fact`, to the device.
    pub fn upload(host: Quantized, fact: &Fact, device: &B::Device) -> Self {
        let made = Self::upload_by(host, fact, device, |codes| Ok::<_, Infallible>(Value::of(codes, device)));
        match made {
            Ok(coded) => coded,
        }
    }

    /// [`Coded::upload`], the codes by `upload`.
    pub fn upload_by<E>(
        host: Quantized,
        fact: &Fact,
        device: &B::Device,
        upload: impl FnOnce(TensorData) -> Result<Value<B>, E>,
    ) -> Result<Self, E> {
        let codes = TensorData::from_bytes_vec(host.codes, burn_shape(&fact.shape), burn_dtype(fact.dtype));
        let codes = upload(codes)?.int(device);
        let scales = fact.scales.expect("a quantized value has scales");
        let grid = Shape::from(grid(&scales, &fact.shape));
        let floats = |values: Vec<f32>| B::float_from_data(TensorData::new(values, grid.clone()), device);
        let zeros = if host.zeros.is_empty() { None } else { Some(floats(host.zeros)) };
        Ok(Self { codes, scales: floats(host.scales), zeros })
    }

    /// What the codes, of `dtype`, stand for, in f32: integers as they are.
    pub fn numbers(codes: IntTensor<B>, dtype: DType, device: &B::Device) -> FloatTensor<B> {
        if dtype != DType::F8E4M3 {
            return B::int_into_float(codes, float_dtype(DType::F32));
        }
        let table: Vec<f32> = (0..=u8::MAX).map(f8e4m3::decode).collect();
        let table = B::float_from_data(TensorData::new(table, Shape::new([256])), device);
        let shape = codes.shape();
        let flat = B::int_reshape(codes, Shape::new([shape.num_elements()]));
        let numbers = B::float_select(table, 0, B::int_cast(flat, int_dtype(DType::I32)));
        B::float_reshape(numbers, shape)
    }
}
