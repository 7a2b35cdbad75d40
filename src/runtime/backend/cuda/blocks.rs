//! Numbers of GGML's blocks outside of planned graphs: while weights are prepared.

use super::burn_memory::{address, for_now, settled};
use super::compile::Compiler;
use super::launch::Launcher;
use super::source::dequantize_blocks;
use super::{Gpu, driver, failed};
use crate::RunError;
use crate::value::{Value, burn_dtype};
use burn::tensor::ops::FloatTensor;
use burn_cuda::Cuda;
use cudarc::driver::CudaContext;
use cudarc::nvrtc::Ptx;
use reflux_ir::{BlockFormat, Fact};

/// The numbers, of type `fact`, of `blocks`, computed by the engine's kernel on their device.
pub fn dequantized(
    blocks: &FloatTensor<Cuda>,
    format: BlockFormat,
    fact: &Fact,
) -> Result<Value<Cuda>, RunError> {
    const WHAT: &str = "dequantize";
    let device = &blocks.device;
    let gpu = Gpu::of(&driver::probe(device.index)?);
    let kernel = dequantize_blocks(format, fact.dtype, fact.shape.elements());
    let cubin = Compiler::new(gpu.capability).compile(&kernel.name, &kernel.text);
    let cubin = cubin.map_err(|error| failed(WHAT, error))?;
    let made = for_now(&fact.shape, burn_dtype(fact.dtype), device);
    let pointers = [address(blocks)?, address(&made)?];
    settled(device, WHAT)?;
    let run = || {
        let context = CudaContext::new(device.index)?;
        context.bind_to_thread()?;
        let function = context.load_module(Ptx::from_binary(cubin))?.load_function(&kernel.name)?;
        let (launcher, stream) = (Launcher { function, starts_early: false }, context.new_stream()?);
        // SAFETY: the function is the kernel's, which reads the blocks of as many numbers as it writes; both stay allocated until
        // the stream is done, which is waited for.
        unsafe { launcher.launch(&kernel, &[], &pointers, &stream) }?;
        stream.synchronize()
    };
    run().map_err(|error: cudarc::driver::DriverError| failed(WHAT, error))?;
    Ok(Value::Float(made))
}
