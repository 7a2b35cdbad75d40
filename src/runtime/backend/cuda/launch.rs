//! Kernels on a stream.

use super::source::Kernel;
use super::tensor_map::Encoded;
use cudarc::driver::{CudaFunction, CudaStream, DriverError, sys};
use std::ffi::c_void;

/// A kernel's function, and how it is launched.
pub struct Launcher {
    pub function: CudaFunction,
    /// Whether it may start before the preceding kernel is done, and waits for that itself.
    pub starts_early: bool,
}

impl Launcher {
    /// Enqueues `kernel` with its arguments.
    ///
    /// # Safety
    /// The function must be the kernel's; the maps and pointers must be as many as it takes, and point to buffers of the sizes in
    /// its plan, which stay allocated until the stream is done with them.
    pub unsafe fn launch(
        &self,
        kernel: &Kernel,
        maps: &[Encoded],
        pointers: &[u64],
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        let maps = maps.iter().map(|map| (&raw const *map).cast_mut().cast::<c_void>());
        let pointers = pointers.iter().map(|pointer| (&raw const *pointer).cast_mut().cast::<c_void>());
        let mut arguments: Vec<*mut c_void> = maps.chain(pointers).collect();
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: kernel.grid[0],
            gridDimY: kernel.grid[1],
            gridDimZ: kernel.grid[2],
            blockDimX: kernel.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: kernel.shared,
            hStream: stream.cu_stream(),
            attrs: &raw mut early,
            numAttrs: self.starts_early.into(),
        };
        // SAFETY: the driver reads configuration and arguments before it returns; the caller vouches for what they point to.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                self.function.cu_function(),
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
    }
}
