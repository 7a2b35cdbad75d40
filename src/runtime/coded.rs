//! Quantized values on a backend.

use crate::quantize::{Quantized, grid};
use crate::value::{Value, burn_dtype, burn_shape};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData};
use reflux_ir::Fact;
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
}
