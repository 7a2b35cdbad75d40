//! Products by cuBLASLt.

use super::matmul::{MatmulKind, MatmulLaunch};
use super::room::{Room, WORKSPACE};
use cudarc::cublaslt::{result, sys};
use std::ffi::c_void;
use std::rc::Rc;

/// A cuBLASLt handle and its workspace.
pub struct CublasLt {
    handle: sys::cublasLtHandle_t,
    /// Owns the workspace.
    room: Rc<Room>,
}

/// A prepared product: its layouts, and the algorithm that the library recommends.
pub struct Ready {
    description: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    y: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
    kind: MatmulKind,
}

impl CublasLt {
    pub fn new(room: Rc<Room>) -> Result<Self, result::CublasError> {
        Ok(Self { handle: result::create_handle()?, room })
    }

    /// The library's matrices are column-major, so it computes `yᵀ = W · xᵀ`, with the stored `W` as a transposed matrix.
    pub fn prepare(&self, matmul: &MatmulLaunch) -> Result<Ready, result::CublasError> {
        use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32I};
        use sys::cublasLtEpilogue_t::{CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS};
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        use sys::cudaDataType_t::{CUDA_R_8F_E4M3, CUDA_R_8I, CUDA_R_16BF, CUDA_R_32F, CUDA_R_32I};
        let (compute, scale, input, output) = match matmul.kind {
            MatmulKind::Bf16 => (CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_16BF, CUDA_R_16BF),
            MatmulKind::I8 => (CUBLAS_COMPUTE_32I, CUDA_R_32I, CUDA_R_8I, CUDA_R_32I),
            MatmulKind::F8 => (CUBLAS_COMPUTE_32F, CUDA_R_32F, CUDA_R_8F_E4M3, CUDA_R_32F),
        };
        let MatmulLaunch { m, n, k, .. } = *matmul;
        let layout = |kind, rows: usize, columns: usize, stride: usize| {
            result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64)
        };
        let description = result::create_matmul_desc(compute, scale)?;
        let (weight, x) = (layout(input, k, n, matmul.weight_stride)?, layout(input, k, m, matmul.x_stride)?);
        let y = layout(output, n, m, matmul.y_stride)?;
        let set = |attribute, value: *const c_void, bytes| {
            // SAFETY: the description was made above; the library reads `bytes` bytes at `value`, which are those of a
            // value of the attribute's type.
            unsafe { result::set_matmul_desc_attribute(description, attribute, value, bytes) }
        };
        // CUBLAS_OP_T of cublas_api.h.
        let transposed = 1i32;
        set(
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            (&raw const transposed).cast(),
            size_of_val(&transposed),
        )?;
        if matmul.bias.is_some() {
            let epilogue = if matmul.gelu { CUBLASLT_EPILOGUE_GELU_BIAS } else { CUBLASLT_EPILOGUE_BIAS };
            set(
                Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE,
                (&raw const epilogue).cast(),
                size_of_val(&epilogue),
            )?;
            // The bias has no address yet. Algorithms are chosen by its alignment, so any address aligned alike will do.
            set_bias(description, self.room.workspace())?;
        }
        let preference = result::create_matmul_pref()?;
        let bytes = WORKSPACE;
        // SAFETY: everything was made above and is not destroyed yet; the attribute is a `size_t`.
        let found = unsafe {
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const bytes).cast(),
                size_of_val(&bytes),
            )?;
            let found =
                result::get_matmul_algo_heuristic(self.handle, description, weight, x, y, y, preference);
            result::destroy_matmul_pref(preference)?;
            found?
        };
        Ok(Ready { description, weight, x, y, algorithm: found.algo, kind: matmul.kind })
    }

    /// Enqueues a product on `stream`.
    ///
    /// # Safety
    /// The addresses are those of matrices that `ready` was prepared for, which stay allocated until the stream is done with them.
    pub unsafe fn run(
        &self,
        ready: &Ready,
        [x, weight, y]: [u64; 3],
        bias: Option<u64>,
        stream: cudarc::driver::sys::CUstream,
    ) -> Result<(), result::CublasError> {
        if let Some(bias) = bias {
            set_bias(ready.description, bias)?;
        }
        let (one, zero, one_int, zero_int) = (1.0f32, 0.0f32, 1i32, 0i32);
        let (alpha, beta): (*const c_void, *const c_void) = match ready.kind {
            MatmulKind::Bf16 | MatmulKind::F8 => ((&raw const one).cast(), (&raw const zero).cast()),
            MatmulKind::I8 => ((&raw const one_int).cast(), (&raw const zero_int).cast()),
        };
        // SAFETY: the caller vouches for the addresses; handle, descriptions and layouts live as long as `self` and `ready`, and the
        // room's workspace has this many bytes.
        unsafe {
            result::matmul(
                self.handle,
                ready.description,
                alpha,
                beta,
                weight as *const c_void,
                ready.weight,
                x as *const c_void,
                ready.x,
                y as *const c_void,
                ready.y,
                y as *mut c_void,
                ready.y,
                &raw const ready.algorithm,
                self.room.workspace() as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        }
    }
}

/// Sets the address of a product's bias.
fn set_bias(description: sys::cublasLtMatmulDesc_t, address: u64) -> Result<(), result::CublasError> {
    let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
    let (value, bytes) = ((&raw const address).cast(), size_of_val(&address));
    // SAFETY: the description is not destroyed yet; the attribute is an address.
    unsafe { result::set_matmul_desc_attribute(description, attribute, value, bytes) }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: the handle is destroyed once, here. A failure leaves nothing to do.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // SAFETY: each is destroyed once, here.
        unsafe {
            let _ = result::destroy_matrix_layout(self.weight);
            let _ = result::destroy_matrix_layout(self.x);
            let _ = result::destroy_matrix_layout(self.y);
            let _ = result::destroy_matmul_desc(self.description);
        }
    }
}
