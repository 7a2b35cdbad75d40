//! Tensor maps, with which TMA fetches tiles by coordinates.

use super::unsupported::Unsupported;
use super::view::{Pointer, View};
use cudarc::driver::{DeviceRepr, DriverError, sys};
use reflux_ir::DType;

/// A row of a tile is as wide as the widest swizzle, in bytes.
pub const TILE_BYTES: usize = 128;

/// Offsets and strides of what TMA fetches are multiples of this, in bytes.
pub const STRIDE_BYTES: usize = 16;

/// A tensor, and the tiles of it that a kernel fetches: [`TILE_BYTES`] of the innermost axis, swizzled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub pointer: Pointer,
    dtype: DType,
    /// Elements of each axis, the innermost first.
    extents: Vec<usize>,
    /// Bytes between elements of each axis but the innermost.
    strides: Vec<usize>,
    /// Elements of a tile along each axis.
    tile: Vec<usize>,
}

impl TensorMap {
    /// `view`, whose last axis is the innermost, in tiles of `tile` elements of its other axes, the outermost first.
    ///
    /// # Errors
    /// If TMA does not support its layout: rows must be contiguous, and offsets and strides multiples of 16 bytes.
    pub fn of(view: &View, tile: &[usize]) -> Result<Self, Unsupported> {
        if view.dtype.bits() < 8 {
            return Err(Unsupported(format!("TMA does not fetch {} codes", view.dtype)));
        }
        let bytes = view.dtype.bytes();
        let (&last, outer) = view.strides.split_last().expect("a tensor has axes");
        let is_aligned = |count: &usize| (count * bytes).is_multiple_of(STRIDE_BYTES);
        let is_far = outer.iter().any(|stride| stride * bytes >= 1 << 40);
        if last != 1 || !outer.iter().chain([&view.offset]).all(is_aligned) || is_far {
            return Err(Unsupported("the layout of the rows is not one that TMA can fetch".into()));
        }
        Ok(Self {
            pointer: Pointer::to(view),
            dtype: view.dtype,
            extents: view.shape.iter().rev().copied().collect(),
            // Along an axis of extent 1, any stride but zero will do.
            strides: outer.iter().rev().map(|stride| (stride * bytes).max(STRIDE_BYTES)).collect(),
            tile: [TILE_BYTES / bytes].into_iter().chain(tile.iter().rev().copied()).collect(),
        })
    }

    /// The kernel argument for it, with the tensor at `address` on the device.
    pub fn encode(&self, address: u64) -> Result<Encoded, DriverError> {
        use sys::CUtensorMapDataType::{
            CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            CU_TENSOR_MAP_DATA_TYPE_FLOAT32, CU_TENSOR_MAP_DATA_TYPE_INT32, CU_TENSOR_MAP_DATA_TYPE_UINT8,
        };
        let dtype = match self.dtype {
            DType::BF16 => CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            DType::F16 => CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            DType::F32 => CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
            DType::I32 => CU_TENSOR_MAP_DATA_TYPE_INT32,
            DType::I8 | DType::F8E4M3 => CU_TENSOR_MAP_DATA_TYPE_UINT8,
            DType::U4 | DType::Block(_) => {
                unreachable!("`of` refuses whole bytes, one or more to an element")
            }
        };
        let (extents, strides): (Vec<u64>, Vec<u64>) = (
            self.extents.iter().map(|&n| n as u64).collect(),
            self.strides.iter().map(|&n| n as u64).collect(),
        );
        let tile: Vec<u32> = self.tile.iter().map(|&n| n as u32).collect();
        let every = vec![1u32; tile.len()];
        let mut encoded = Encoded(sys::CUtensorMap_st { opaque: [0; 16] });
        // SAFETY: each pointer is to as many numbers as the rank, the strides to one fewer; the call writes the whole map.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &raw mut encoded.0,
                dtype,
                tile.len() as u32,
                address as *mut std::ffi::c_void,
                extents.as_ptr(),
                strides.as_ptr(),
                tile.as_ptr(),
                every.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()?;
        Ok(encoded)
    }
}

/// The driver's form of a [`TensorMap`], a kernel's argument.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Encoded(sys::CUtensorMap);

// SAFETY: kernels take it by value, as the driver wrote it.
unsafe impl DeviceRepr for Encoded {}
