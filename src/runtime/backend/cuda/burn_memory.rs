//! Values in burn's memory, and their addresses.

use super::failed;
use super::plan::Piece;
use crate::RunError;
use crate::coded::Coded;
use crate::value::{Value, burn_shape};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cuda::{Cuda, CudaDevice};
use reflux_ir::HostTensor;

/// A host tensor on the device, without gaps between its rows.
pub fn upload_flat(tensor: HostTensor, device: &CudaDevice) -> Value<Cuda> {
    let shape = burn_shape(&tensor.shape);
    let flat = HostTensor { shape: vec![tensor.len()], ..tensor };
    match Value::upload(flat, device) {
        Value::Float(x) => Value::Float(<Cuda>::float_reshape(x, shape)),
        Value::Int(x) => Value::Int(<Cuda>::int_reshape(x, shape)),
        other => other,
    }
}

/// `value` without the gaps between rows that burn leaves where that suits its own kernels.
pub fn in_one_piece(value: Value<Cuda>) -> Value<Cuda> {
    let float = |x| packed(x, <Cuda>::float_reshape);
    let int = |x| packed(x, <Cuda>::int_reshape);
    match value {
        Value::Float(x) => Value::Float(float(x)),
        Value::Int(x) => Value::Int(int(x)),
        Value::Quantized(coded) => Value::Quantized(Coded {
            codes: int(coded.codes),
            scales: float(coded.scales),
            zeros: coded.zeros.map(float),
        }),
        scalar @ Value::Scalar(..) => scalar,
    }
}

/// `x` without gaps, through a tensor of one axis, which has none. burn's GPU tensors have the same Rust type for all dtypes.
fn packed(
    x: FloatTensor<Cuda>,
    reshape: fn(FloatTensor<Cuda>, Shape) -> FloatTensor<Cuda>,
) -> FloatTensor<Cuda> {
    if x.is_contiguous() {
        return x;
    }
    let shape = x.shape();
    reshape(reshape(x, flat(&shape)), shape)
}

fn flat(shape: &Shape) -> Shape {
    Shape::new([shape.num_elements()])
}

/// An uninitialized contiguous tensor in memory of exactly its size; allocated with one axis, since burn leaves gaps between
/// rows.
pub fn empty(shape: &[usize], dtype: DType, device: &CudaDevice) -> FloatTensor<Cuda> {
    persistent(device, shape, |shape| for_now(shape, dtype, device))
}

/// [`empty`], in memory that burn can soon reuse.
pub fn for_now(shape: &[usize], dtype: DType, device: &CudaDevice) -> FloatTensor<Cuda> {
    let shape = burn_shape(shape);
    if dtype.is_float() {
        <Cuda>::float_reshape(<Cuda>::float_empty(flat(&shape), device, dtype.into()), shape)
    } else {
        <Cuda>::int_reshape(<Cuda>::int_empty(flat(&shape), device, dtype.into()), shape)
    }
}

/// Runs `make`, with allocations of exactly the needed size, which burn otherwise takes from larger pages.
pub fn persistent<I: Send, T: Send>(device: &CudaDevice, input: I, make: impl Fn(I) -> T + Send) -> T {
    <Cuda as Backend>::memory_persistent_allocations(device, input, make)
}

/// Waits for burn's pending work before others read its results, or write memory that it may still read. `line` is named in
/// errors.
pub fn settled(device: &CudaDevice, line: &str) -> Result<(), RunError> {
    <Cuda as Backend>::sync(device)
        .map_err(|error| RunError::Backend { line: line.into(), message: error.to_string() })
}

/// The device address of a piece of a value, valid as long as the value lives.
pub fn address_of(value: &Value<Cuda>, piece: Piece) -> Result<u64, RunError> {
    address(match (value, piece) {
        (Value::Float(tensor) | Value::Int(tensor), Piece::Data) => tensor,
        (Value::Quantized(coded), Piece::Data) => &coded.codes,
        (Value::Quantized(coded), Piece::Scales) => &coded.scales,
        (Value::Quantized(coded), Piece::Zeros) => {
            coded.zeros.as_ref().ok_or_else(|| lost("a zero point"))?
        }
        _ => return Err(lost("a number")),
    })
}

/// The device address of a tensor, valid as long as the tensor lives.
pub fn address(tensor: &FloatTensor<Cuda>) -> Result<u64, RunError> {
    if !tensor.is_contiguous() {
        return Err(lost("a tensor in several pieces"));
    }
    let resource = tensor.client.get_resource(tensor.handle.clone());
    Ok(resource.map_err(|error| failed("the address of a tensor", error))?.resource().ptr)
}

pub fn lost(what: &str) -> RunError {
    RunError::Backend { line: "the CUDA engine".into(), message: format!("{what} has no address") }
}
