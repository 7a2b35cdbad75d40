//! Quantized values on a backend.

use crate::f8e4m3;
use crate::quantize::{Quantized, grid};
use crate::value::burn_shape;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType as BurnDType, Shape, TensorData};
use half::bf16;
use reflux_ir::{DType, Fact};

/// Codes and what they are to be multiplied by; see [`reflux_ir::Scales`].
#[derive(Clone, Debug)]
pub struct Coded<B: Backend> {
    pub codes: Codes<B>,
    /// f32 `[rows, groups]`: `[rows, 1]` where there is one per row, `[1, 1]` where there is one in all.
    pub scales: FloatTensor<B>,
    /// Beside the scales of `u4`.
    pub zeros: Option<FloatTensor<B>>,
}

/// Codes in the shape of the value. Not every backend has tensors of 8-bit floats, and none packs two codes to a byte, so
/// what takes more memory here than in a file is held as something that all of them have.
#[derive(Clone, Debug)]
pub enum Codes<B: Backend> {
    /// `i8`; `u4` too, which is unpacked.
    Int(IntTensor<B>),
    /// `f8e4m3`, as bf16 numbers, which hold every one exactly.
    Float(FloatTensor<B>),
}

impl<B: Backend> Coded<B> {
    /// Brings what was quantized on the host, a value of type `fact`, to the device.
    pub fn upload(host: Quantized, fact: &Fact, device: &B::Device) -> Self {
        let shape = burn_shape(&fact.shape);
        let codes = match fact.dtype {
            DType::F8E4M3 => {
                let table: [bf16; 256] =
                    std::array::from_fn(|code| bf16::from_f32(f8e4m3::decode(code as u8)));
                let numbers: Vec<bf16> =
                    host.codes.into_iter().map(|code| table[usize::from(code)]).collect();
                Codes::Float(B::float_from_data(TensorData::new(numbers, shape), device))
            }
            _ => {
                let data = TensorData::from_bytes_vec(host.codes, shape, BurnDType::I8);
                Codes::Int(B::int_from_data(data, device))
            }
        };
        let scales = fact.scales.expect("a quantized value has scales");
        let grid = Shape::from(grid(&scales, &fact.shape));
        let upload = |values: Vec<f32>| B::float_from_data(TensorData::new(values, grid.clone()), device);
        let zeros = if host.zeros.is_empty() { None } else { Some(upload(host.zeros)) };
        Self { codes, scales: upload(host.scales), zeros }
    }

    /// The integers that `i8` and `u4` are.
    pub fn ints(self) -> IntTensor<B> {
        match self.codes {
            Codes::Int(codes) => codes,
            Codes::Float(_) => unreachable!("inference gives integers here"),
        }
    }
}
