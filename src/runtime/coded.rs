//! Quantized values on a backend.

use crate::RunError;
use crate::backend::{BurnBackend, Loader};
use crate::value::{Value, burn_dtype, burn_shape, int_dtype};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData, TensorMetadata};
use rayon::prelude::*;
use reflux_ir::{DType, Fact, Granularity, QuantizedTensor};
use std::convert::Infallible;

/// A [`QuantizedTensor`] on a backend: codes and scales; see [`reflux_ir::Scales`].
#[derive(Clone, Debug)]
pub struct Coded<B: Backend> {
    /// In the shape of the value, one byte per code: `i8` as is, `u4` unpacked, `f8e4m3` as its bits. If
    /// [`BurnBackend::PACKS`], rows of an even number of `u4` are half as long: two neighbours in a byte, the first in the lower half.
    pub codes: IntTensor<B>,
    /// f32 `[rows, groups]`: `[rows, 1]` if there is one per row, `[1, 1]` if there is one in all. If
    /// [`BurnBackend::PACKS`], scales of groups keep their own dtype.
    pub scales: FloatTensor<B>,
    /// The zero points, for `u4`.
    pub zeros: Option<FloatTensor<B>>,
}

impl<B: BurnBackend> Coded<B> {
    /// Uploads a tensor to the device.
    pub fn upload(host: QuantizedTensor, device: &B::Device) -> Self {
        let made = Self::upload_by(host, device, |codes| Ok::<_, Infallible>(Value::of(codes, device)));
        match made {
            Ok(coded) => coded,
        }
    }

    /// [`Coded::upload`], the codes by `upload`.
    pub fn upload_by<E>(
        host: QuantizedTensor,
        device: &B::Device,
        mut upload: impl FnMut(TensorData) -> Result<Value<B>, E>,
    ) -> Result<Self, E> {
        let fact = host.fact;
        let codes = if B::PACKS && is_packed(&fact) {
            let mut codes = vec![0; host.codes.len() / 2];
            pack(&host.codes, &mut codes);
            codes
        } else {
            host.codes
        };
        let codes = TensorData::from_bytes_vec(codes, codes_shape::<B>(&fact), burn_dtype(fact.dtype));
        let codes = upload(codes)?;
        Self::with_codes(codes, &fact, host.scales, host.zeros, device, upload)
    }

    /// The codes of a tensor of type `fact` on the device, where `loader` places them; `write` makes those of the rows from one
    /// on, a byte for each.
    pub fn place(
        fact: &Fact,
        loader: &mut dyn Loader<B>,
        write: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<Value<B>, RunError> {
        let (shape, dtype, columns) = (codes_shape::<B>(fact), burn_dtype(fact.dtype), fact.shape.columns());
        if !(B::PACKS && is_packed(fact)) {
            return loader.place(shape, dtype, columns, write);
        }
        let mut codes = Vec::new();
        loader.place(shape, dtype, columns / 2, &mut |first, to| {
            codes.resize(2 * to.len(), 0);
            write(first, &mut codes);
            pack(&codes, to);
        })
    }

    /// A tensor of type `fact` whose codes are on the device, with scales and zero points by `upload`.
    pub fn with_codes<E>(
        codes: Value<B>,
        fact: &Fact,
        scales: Vec<f32>,
        zeros: Vec<f32>,
        device: &B::Device,
        mut upload: impl FnMut(TensorData) -> Result<Value<B>, E>,
    ) -> Result<Self, E> {
        let of = fact.scales.expect("a quantized value has scales");
        let grid = of.grid(&fact.shape);
        let mut floats = |values: Vec<f32>| {
            let data = TensorData::new(values, grid);
            let is_narrow = B::PACKS && matches!(of.per, Granularity::Group(_));
            let data = if is_narrow { data.convert_dtype(burn_dtype(of.dtype)) } else { data };
            upload(data).map(|value| value.float(device))
        };
        let scales = floats(scales)?;
        let zeros = if zeros.is_empty() { None } else { Some(floats(zeros)?) };
        Ok(Self { codes: codes.int(device), scales, zeros })
    }

    /// Its tensors, in the order in which they are loaded.
    pub fn pieces(&self) -> Vec<Value<B>> {
        let (codes, scales) = (Value::Int(self.codes.clone()), Value::Float(self.scales.clone()));
        [codes, scales].into_iter().chain(self.zeros.clone().map(Value::Float)).collect()
    }
}

/// Whether values of a type can be stored with two codes per byte: see [`Coded::codes`].
fn is_packed(fact: &Fact) -> bool {
    fact.dtype.bits() == 4 && fact.shape.last().is_some_and(|columns| columns.is_multiple_of(2))
}

/// The shape in which codes of a type are stored.
fn codes_shape<B: BurnBackend>(fact: &Fact) -> Shape {
    let mut shape = fact.shape.to_vec();
    if B::PACKS && is_packed(fact) {
        *shape.last_mut().expect("it has columns") /= 2;
    }
    burn_shape(&shape)
}

/// Writes two neighbours to a byte each, the first to its lower half.
fn pack(codes: &[u8], to: &mut [u8]) {
    let pairs = codes.par_chunks_exact(2).with_min_len(1 << 16);
    to.par_iter_mut().with_min_len(1 << 16).zip(pairs).for_each(|(to, pair)| *to = pair[0] | pair[1] << 4);
}

/// `rows` rows of `columns` 4-bit codes, packed or not, as one byte each.
pub fn unpacked<B: BurnBackend>(codes: IntTensor<B>, [rows, columns]: [usize; 2]) -> IntTensor<B> {
    if codes.shape().num_elements() == rows * columns {
        return codes;
    }
    // The cast may have extended a sign; the masks below remove it.
    let pairs = B::int_reshape(B::int_cast(codes, int_dtype(DType::I32)), Shape::new([rows, columns / 2, 1]));
    let low = B::bitwise_and_scalar(pairs.clone(), 15.into());
    let high = B::bitwise_and_scalar(B::bitwise_right_shift_scalar(pairs, 4.into()), 15.into());
    B::int_reshape(B::int_cat(vec![low, high], 2), Shape::new([rows, columns]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::{Flex, FlexDevice};

    #[test]
    fn what_is_packed_is_unpacked() {
        let codes: Vec<u8> = (0..48).map(|i| i * 7 % 16).collect();
        let mut halves = vec![0; 24];
        pack(&codes, &mut halves);
        let pairs = TensorData::from_bytes_vec(halves, Shape::new([4, 6]), burn_dtype(DType::U4));
        let pairs = Value::<Flex>::of(pairs, &FlexDevice).int(&FlexDevice);
        let fact = Fact::new(DType::I32, [4, 12]);
        let found = Value::<Flex>::Int(unpacked::<Flex>(pairs, [4, 12])).download(&fact, "test").unwrap();
        let expected: Vec<i32> = codes.into_iter().map(i32::from).collect();
        assert_eq!(found.bytes, reflux_ir::HostTensor::from_i32([4, 12], &expected).bytes);
    }
}
