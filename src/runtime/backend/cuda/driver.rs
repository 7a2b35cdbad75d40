//! What the driver knows about NVIDIA GPUs. The driver's library is loaded at run time.

use crate::DeviceError;
use crate::backend::{DeviceInfo, Meter};
use cudarc::driver::{CudaContext, result, sys};
use reflux_ir::Advice;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The name that users give the device.
pub const NAME: &str = "cuda";

/// Checks that the GPU with this number can be used, without creating a context, which would take device memory.
pub fn probe(ordinal: usize) -> Result<DeviceInfo, DeviceError> {
    // SAFETY: both only try to load a shared library and look at whether that worked.
    let (driver, nvrtc) = unsafe { (sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
    if !driver {
        let why = "no NVIDIA driver: libcuda cannot be loaded; install the driver";
        return Err(unusable(why));
    }
    let no_gpu = |error: result::DriverError| no_gpu(&error.to_string());
    result::init().map_err(no_gpu)?;
    let count = result::device::get_count().map_err(no_gpu)? as usize;
    if count == 0 {
        return Err(self::no_gpu("no devices"));
    }
    if ordinal >= count {
        return Err(no_such_gpu(ordinal, count));
    }
    if !nvrtc {
        let why = "NVRTC, which compiles the GPU kernels, cannot be loaded; install the CUDA toolkit, or `pip install \
                   nvidia-cuda-nvrtc` and put its library folder on LD_LIBRARY_PATH";
        return Err(unusable(why));
    }
    let device = result::device::get(ordinal as i32).map_err(no_gpu)?;
    let name = result::device::get_name(device).map_err(no_gpu)?;
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as PROCESSORS,
    };
    // SAFETY: `device` is a valid ordinal, as `device::get` succeeded.
    let (memory, major, minor, processors) = unsafe {
        (
            result::device::total_mem(device).map_err(no_gpu)?,
            result::device::get_attribute(device, MAJOR).map_err(no_gpu)?,
            result::device::get_attribute(device, MINOR).map_err(no_gpu)?,
            result::device::get_attribute(device, PROCESSORS).map_err(no_gpu)?,
        )
    };
    Ok(DeviceInfo {
        device: NAME,
        name,
        memory: memory as u64,
        compute_capability: Some((major as u32, minor as u32)),
        processors: Some(processors as u32),
        driver_version: driver_version(),
    })
}

/// How many GPUs there are; 0 without a driver.
pub fn count() -> usize {
    // SAFETY: it only tries to load a shared library.
    let is_there = unsafe { sys::is_culib_present() } && result::init().is_ok();
    if is_there { result::device::get_count().unwrap_or(0) as usize } else { 0 }
}

/// The pairs of GPUs of which the first cannot reach the memory of the second.
pub fn unreached() -> Vec<(usize, usize)> {
    let all = 0..count();
    let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to && !reaches(*from, *to)).collect()
}

fn reaches(from: usize, to: usize) -> bool {
    let ordinal = |gpu: usize| result::device::get(gpu as i32).ok();
    let Some((from, to)) = ordinal(from).zip(ordinal(to)) else { return false };
    let mut can = 0;
    // SAFETY: both are valid ordinals, and one integer is written.
    unsafe { sys::cuDeviceCanAccessPeer(&raw mut can, from, to) }.result().is_ok() && can != 0
}

fn no_such_gpu(ordinal: usize, count: usize) -> DeviceError {
    let there =
        if count == 1 { "is one GPU, 0".into() } else { format!("are {count} GPUs, 0 to {}", count - 1) };
    DeviceError::new(format!(
        "there is no GPU {ordinal}: there {there}; see `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    ))
}

fn no_gpu(why: &str) -> DeviceError {
    unusable(format!("the NVIDIA driver reports no usable GPU ({why}); see `nvidia-smi`"))
}

/// Whatever is wrong with the GPU, there is a processor.
fn unusable(why: impl Into<String>) -> DeviceError {
    DeviceError { instead: vec![Advice::Device("cpu")], ..DeviceError::new(why) }
}

fn driver_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: the driver is loaded, and writes one integer to the pointer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok().map(|()| version)
}

/// Measures how much of the GPU's memory is in use, by any process.
pub struct FreeMeter {
    /// What creates a context, until somebody asks for it: that takes a few tenths of a second, in which there is other work to do.
    starting: Cell<Option<JoinHandle<Start>>>,
    start: OnceCell<Start>,
}

/// A GPU at the start.
#[derive(Default)]
struct Start {
    /// Bytes that were free, after the context was created.
    free: Option<u64>,
    /// Keeps the context alive, so that the next user does not have to create it again.
    context: Option<Arc<CudaContext>>,
}

impl Start {
    fn of(ordinal: usize) -> Self {
        let context = CudaContext::new(ordinal).ok();
        Self { free: context.as_deref().and_then(free), context }
    }
}

impl Drop for FreeMeter {
    /// The process must not end while the driver starts.
    fn drop(&mut self) {
        self.started();
    }
}

impl FreeMeter {
    /// Has a context created, which everything on the GPU with this number shares while any of its holders lives. Does nothing if there
    /// is none.
    pub fn start(ordinal: Option<usize>) -> Self {
        let start = OnceCell::new();
        let starting = ordinal.and_then(|ordinal| {
            let thread = std::thread::Builder::new().spawn(move || Start::of(ordinal));
            // A limit may forbid more threads.
            thread.map_err(|_| start.set(Start::of(ordinal))).ok()
        });
        Self { starting: Cell::new(starting), start }
    }

    fn started(&self) -> &Start {
        let join = || self.starting.take().and_then(|thread| thread.join().ok());
        self.start.get_or_init(|| join().unwrap_or_default())
    }

    /// The bytes that are free now.
    fn free(&self) -> Option<u64> {
        self.started().context.as_deref().and_then(free)
    }
}

impl Meter for FreeMeter {
    fn taken(&self) -> Option<u64> {
        self.started().free.zip(self.free()).map(|(then, now)| then.saturating_sub(now))
    }
}

/// The free bytes of the GPU with this number.
pub fn free_bytes(ordinal: usize) -> Option<u64> {
    Start::of(ordinal).free
}

/// Free bytes of the device of `context`.
fn free(context: &CudaContext) -> Option<u64> {
    context.bind_to_thread().ok()?;
    result::mem_get_info().ok().map(|(free, _)| free as u64)
}
