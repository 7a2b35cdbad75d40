//! The CUDA engine: a graph of fused ops as kernels of our own over one block of memory, on a stream of its own.
//!
//! burn-cuda owns the device, the weights, inputs and results; the engine takes their addresses and waits for burn at the
//! graph's edges only. A graph with an op that it has no kernel for runs on burn's kernels instead, which is said.

mod attention;
mod burn_backend;
mod compile;
mod gemm;
mod matmul;
mod plan;
mod source;
mod tensor_map;
mod view;
mod wgmma;

pub(crate) use burn_backend::{in_one_piece, runner};
pub use compile::{CompileError, Compiler};
pub use plan::{Launch, Place, Plan, plan};

use crate::RunError;
use crate::ops::{Observer, Unplanned};
use cudarc::driver::sys::CUfunction_attribute;
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig, PushKernelArg};
use matmul::{Blas, Ready};
use reflux_ir::ValueId;
use source::Pointer;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Memory that cuBLASLt may work in, in bytes; NVIDIA's advice for Hopper is 32 MiB.
const WORKSPACE: usize = 64 << 20;

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What a plan has to know of the GPU that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its compute capability.
    pub capability: (u32, u32),
    /// How many multiprocessors it has.
    pub processors: u32,
}

impl Gpu {
    /// Whether it has wgmma and TMA, which came and went with this generation's instructions of its own.
    fn is_hopper(self) -> bool {
        self.capability == (9, 0)
    }
}

/// A plan ready to run on the first device.
pub struct Engine {
    plan: Plan,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    arena: cudarc::driver::CudaSlice<u8>,
    /// Alive as long as `blas` works in it.
    _workspace: cudarc::driver::CudaSlice<u8>,
    blas: Blas,
    /// As the plan's launches.
    prepared: Vec<Prepared>,
}

enum Prepared {
    Kernel(CudaFunction, LaunchConfig),
    Matmul(Ready),
}

/// The addresses that a plan's buffers may have.
pub trait Addresses {
    /// Of an input or weight, or of the scales that go with its codes.
    fn given(&self, value: ValueId, scales: bool) -> Result<u64, RunError>;
    /// Of the graph's result of this number.
    fn output(&self, index: usize) -> Result<u64, RunError>;
}

fn failed(what: &str, error: impl std::fmt::Debug) -> RunError {
    RunError::Backend { line: what.to_owned(), message: format!("{error:?}") }
}

impl Engine {
    /// Compiles the kernels of `plan`, in parallel, and makes room for its values.
    ///
    /// # Errors
    /// Also if cuBLASLt has no way to compute a product of the plan.
    pub fn new(plan: Plan, gpu: Gpu) -> Result<Self, Unplanned> {
        let context = CudaContext::new(0).map_err(|error| failed("the CUDA context", error))?;
        // The engine's stream is the only one that touches what it launches over; waits are its own.
        // SAFETY: no slice of this context is used on two streams at once.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|error| failed("the CUDA stream", error))?;
        let room = |bytes: usize| {
            // SAFETY: nothing is read that was not written before: plans write each value before they read it.
            unsafe { stream.alloc::<u8>(bytes.max(1)) }.map_err(|error| failed("device memory", error))
        };
        let (arena, workspace) = (room(plan.arena)?, room(WORKSPACE)?);
        let address = |slice: &cudarc::driver::CudaSlice<u8>| {
            use cudarc::driver::DevicePtr;
            slice.device_ptr(&stream).0
        };
        let blas = Blas::new(address(&workspace), WORKSPACE).map_err(|error| failed("cuBLASLt", error))?;
        let functions = compile_all(&plan, &context, &Compiler::new(gpu.capability))?;
        let mut prepared = Vec::with_capacity(plan.launches.len());
        for launch in &plan.launches {
            prepared.push(match launch {
                Launch::Kernel { kernel, .. } => {
                    let config = LaunchConfig {
                        grid_dim: kernel.grid.into(),
                        block_dim: (kernel.block, 1, 1),
                        shared_mem_bytes: kernel.shared,
                    };
                    Prepared::Kernel(functions[&kernel.text].clone(), config)
                }
                Launch::Matmul { value, matmul } => {
                    let ready = blas.prepare(matmul);
                    let why =
                        |error| Unplanned::Unsupported(format!("%{value}: cuBLASLt refuses it: {error:?}"));
                    Prepared::Matmul(ready.map_err(why)?)
                }
            });
        }
        Ok(Self { plan, context, stream, arena, _workspace: workspace, blas, prepared })
    }

    /// Bytes of device memory that the engine holds itself.
    pub fn bytes(&self) -> usize {
        self.plan.arena + WORKSPACE
    }

    /// Runs the plan over memory at `addresses` and waits for it. With `observe`, waits after each launch and tells how long
    /// it took.
    pub fn run(&self, addresses: &dyn Addresses, observe: Option<Observer>) -> Result<(), RunError> {
        use cudarc::driver::DevicePtr;
        self.context.bind_to_thread().map_err(|error| failed("the CUDA context", error))?;
        let arena = self.arena.device_ptr(&self.stream).0;
        let bases = self.plan.buffers.iter().map(|buffer| match buffer.place {
            Place::Arena(start) => Ok(arena + start as u64),
            Place::Given { value, scales } => addresses.given(value, scales),
            Place::Output(index) => addresses.output(index),
        });
        let bases: Vec<u64> = bases.collect::<Result<_, _>>()?;
        let at = |pointer: &Pointer| bases[pointer.buffer] + pointer.offset as u64;
        let mut observe = observe;
        for (launch, prepared) in self.plan.launches.iter().zip(&self.prepared) {
            let start = std::time::Instant::now();
            let (value, outcome) = match (launch, prepared) {
                (Launch::Kernel { value, kernel }, Prepared::Kernel(function, config)) => {
                    let maps = kernel.maps.iter().map(|map| map.encode(at(&map.pointer)));
                    let maps = maps.collect::<Result<Vec<_>, _>>();
                    let maps = maps.map_err(|error| failed(&format!("%{value}"), error))?;
                    let pointers: Vec<u64> = kernel.pointers.iter().map(at).collect();
                    let mut builder = self.stream.launch_builder(function);
                    for map in &maps {
                        builder.arg(map);
                    }
                    for pointer in &pointers {
                        builder.arg(pointer);
                    }
                    // SAFETY: the kernel takes as many maps and pointers, to buffers of the sizes that the plan gave it, all of which
                    // stay until the stream has been waited for below.
                    let outcome = unsafe { builder.launch(*config) };
                    (value, outcome.map(drop).map_err(|error| failed(&format!("%{value}"), error)))
                }
                (Launch::Matmul { value, matmul }, Prepared::Matmul(ready)) => {
                    let places = [at(&matmul.x), at(&matmul.weight), at(&matmul.y)];
                    // SAFETY: as above.
                    let outcome = unsafe {
                        self.blas.run(ready, places, matmul.bias.as_ref().map(at), self.stream.cu_stream())
                    };
                    (value, outcome.map_err(|error| failed(&format!("%{value}"), error)))
                }
                _ => unreachable!("prepared in the order of the launches"),
            };
            outcome?;
            if let Some(observe) = &mut observe {
                self.stream.synchronize().map_err(|error| failed(&format!("%{value}"), error))?;
                observe(value, start.elapsed());
            }
        }
        self.stream.synchronize().map_err(|error| failed("the step on the GPU", error))
    }
}

/// The functions of all kernels by their text.
fn compile_all(
    plan: &Plan,
    context: &Arc<CudaContext>,
    compiler: &Compiler,
) -> Result<HashMap<String, CudaFunction>, RunError> {
    use rayon::prelude::*;
    let mut kernels: HashMap<&str, &source::Kernel> = HashMap::new();
    for launch in &plan.launches {
        if let Launch::Kernel { kernel, .. } = launch {
            kernels.insert(&kernel.text, kernel);
        }
    }
    let kernels: Vec<&source::Kernel> = kernels.into_values().collect();
    let compiled: Vec<_> =
        kernels.par_iter().map(|kernel| compiler.compile(&kernel.name, &kernel.text)).collect();
    let mut functions = HashMap::with_capacity(kernels.len());
    for (kernel, cubin) in kernels.into_iter().zip(compiled) {
        let cubin = cubin.map_err(|error| failed(&kernel.name, error))?;
        let module = context.load_module(cudarc::nvrtc::Ptx::from_binary(cubin));
        let function = module.and_then(|module| module.load_function(&kernel.name));
        let function = function.map_err(|error| failed(&kernel.name, error))?;
        if kernel.shared > 48 << 10 {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let outcome = function.set_attribute(attribute, kernel.shared as i32);
            outcome.map_err(|error| failed(&kernel.name, error))?;
        }
        functions.insert(kernel.text.clone(), function);
    }
    Ok(functions)
}
