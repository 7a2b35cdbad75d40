//! Values on a backend, and their transfer to and from it.

use crate::RunError;
use crate::coded::Coded;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType as BurnDType, FloatDType, IntDType, Shape, TensorData};
use reflux_ir::{DType, Fact, HostTensor};

/// A value while a program runs. Scalars that are not constants are tensors of shape [1].
#[derive(Debug)]
pub enum Value<B: Backend> {
    Float(FloatTensor<B>),
    Int(IntTensor<B>),
    /// A constant operand, which most backends take in without a tensor.
    Scalar(f64, DType),
    Quantized(Coded<B>),
}

impl<B: Backend> Clone for Value<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Float(tensor) => Self::Float(tensor.clone()),
            Self::Int(tensor) => Self::Int(tensor.clone()),
            Self::Scalar(value, dtype) => Self::Scalar(*value, *dtype),
            Self::Quantized(coded) => Self::Quantized(coded.clone()),
        }
    }
}

impl<B: Backend> Value<B> {
    /// Uploads a host tensor to the device.
    pub fn upload(tensor: HostTensor, device: &B::Device) -> Self {
        Self::of(host_data(tensor), device)
    }

    /// Uploads data to the device.
    pub fn of(data: TensorData, device: &B::Device) -> Self {
        if data.dtype.is_float() {
            Self::Float(B::float_from_data(data, device))
        } else {
            Self::Int(B::int_from_data(data, device))
        }
    }

    /// Copies the value, whose fact is `fact`, to the host.
    pub fn download(self, fact: &Fact, line: &str) -> Result<HostTensor, RunError> {
        let data = match self {
            Self::Float(tensor) => burn::tensor::try_read_sync(B::float_into_data(tensor)),
            Self::Int(tensor) => burn::tensor::try_read_sync(B::int_into_data(tensor)),
            Self::Scalar(value, dtype) => {
                return Ok(HostTensor::from_f32([], &[value as f32]).cast(dtype));
            }
            Self::Quantized(_) => unreachable!("results are verified to be numbers"),
        };
        let failed = |message: String| RunError::Backend { line: line.to_owned(), message };
        let data = data.ok_or_else(|| failed("the result cannot be read".into()))?;
        let data = data.map_err(|error| failed(error.to_string()))?.convert_dtype(burn_dtype(fact.dtype));
        Ok(HostTensor::new(fact.dtype, fact.shape.to_vec(), data.as_bytes().to_vec()))
    }

    /// A constant as a tensor, for ops that are not arithmetic.
    pub fn into_tensor(self, device: &B::Device) -> Self {
        match self {
            Self::Scalar(_, dtype) if dtype.is_float() => Self::Float(self.float(device)),
            Self::Scalar(..) => Self::Int(self.int(device)),
            tensor => tensor,
        }
    }

    /// The float tensor that type inference promised.
    pub fn float(self, device: &B::Device) -> FloatTensor<B> {
        match self {
            Self::Float(tensor) => tensor,
            Self::Scalar(value, dtype) => {
                B::float_full(Shape::new([1]), value.into(), device, float_dtype(dtype))
            }
            Self::Int(_) | Self::Quantized(_) => unreachable!("inference gives floats here"),
        }
    }

    /// The int tensor that type inference promised.
    pub fn int(self, device: &B::Device) -> IntTensor<B> {
        match self {
            Self::Int(tensor) => tensor,
            Self::Scalar(value, dtype) => {
                B::int_full(Shape::new([1]), value.into(), device, int_dtype(dtype))
            }
            Self::Float(_) | Self::Quantized(_) => unreachable!("inference gives ints here"),
        }
    }

    /// The quantized value that type inference promised.
    pub fn coded(self) -> Coded<B> {
        match self {
            Self::Quantized(coded) => coded,
            _ => unreachable!("inference gives a quantized value here"),
        }
    }
}

/// A host tensor as burn's tensor data; one of blocks as its bytes, row by row.
pub fn host_data(tensor: HostTensor) -> TensorData {
    let HostTensor { dtype, shape, bytes } = tensor;
    TensorData::from_bytes_vec(bytes, host_shape(dtype, &shape), burn_dtype(dtype))
}

/// burn's shape of a tensor with these extents: of blocks that of their bytes.
pub fn host_shape(dtype: DType, extents: &[usize]) -> Shape {
    let mut extents = extents.to_vec();
    if let (DType::Block(_), Some(columns)) = (dtype, extents.last_mut()) {
        *columns = dtype.stored_bytes(*columns);
    }
    burn_shape(&extents)
}

/// A shape for burn: a scalar has one axis, since its GPU backends have no rank 0.
pub fn burn_shape(extents: &[usize]) -> Shape {
    Shape::from(if extents.is_empty() { vec![1] } else { extents.to_vec() })
}

/// burn's name of a dtype.
pub fn burn_dtype(dtype: DType) -> BurnDType {
    match dtype {
        DType::F32 => BurnDType::F32,
        DType::F16 => BurnDType::F16,
        DType::BF16 => BurnDType::BF16,
        DType::I32 => BurnDType::I32,
        DType::I8 => BurnDType::I8,
        // Codes that burn has no type for: see `Coded`.
        DType::U4 => BurnDType::I8,
        DType::F8E4M3 | DType::Block(_) => BurnDType::U8,
    }
}

/// burn's name of a floating-point dtype.
pub fn float_dtype(dtype: DType) -> FloatDType {
    burn_dtype(dtype).into()
}

/// burn's name of an integer dtype.
pub fn int_dtype(dtype: DType) -> IntDType {
    burn_dtype(dtype).into()
}
