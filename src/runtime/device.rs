//! Where programs run, and whether it is there.

use crate::limits;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A place to run programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// This machine's processor, by burn-flex.
    Cpu,
    /// The first NVIDIA GPU, by burn-cuda.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err(format!("`{name}` is no device (cpu and cuda are)")),
        }
    }
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("no NVIDIA driver: libcuda cannot be loaded; install the driver, or use --device cpu")]
    NoDriver,
    #[error("the NVIDIA driver reports no usable GPU ({0}); see `nvidia-smi`, or use --device cpu")]
    NoGpu(String),
    #[error(
        "NVRTC, which compiles the GPU kernels, cannot be loaded; install the CUDA toolkit, or `pip install \
         nvidia-cuda-nvrtc` and put its library folder on LD_LIBRARY_PATH, or use --device cpu"
    )]
    NoNvrtc,
}

/// Memory that could be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    pub bytes: u64,
    /// What keeps this process from taking more than that, if not the device.
    pub limit: Option<&'static str>,
}

/// What `reflux doctor` says of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceInfo {
    pub device: Device,
    pub name: String,
    /// In bytes.
    pub memory: u64,
    /// Compute capability of a GPU.
    pub compute_capability: Option<(u32, u32)>,
    /// Multiprocessors of a GPU.
    pub processors: Option<u32>,
    /// CUDA version that the driver supports, as 1000 · major + 10 · minor.
    pub driver_version: Option<i32>,
}

impl Device {
    /// The GPU if there is a usable one, else the processor.
    pub fn auto() -> Self {
        if Self::Cuda.probe().is_ok() { Self::Cuda } else { Self::Cpu }
    }

    /// Checks that the device can be used, without starting to use it.
    pub fn probe(self) -> Result<DeviceInfo, DeviceError> {
        match self {
            Self::Cpu => Ok(processor()),
            Self::Cuda => cuda::probe(),
        }
    }

    /// Gives memory back that backends keep for what may come: after a network is dropped that was large.
    pub fn release_unused(self) {
        if self == Self::Cuda {
            crate::cuda::release_unused(&burn_cuda::CudaDevice::default());
        }
    }

    /// What memory could be had now, where that is known: of the machine, and under the limits of this process.
    pub fn free_memory(self) -> Option<FreeMemory> {
        match self {
            Self::Cpu => {
                let mut system = sysinfo::System::new();
                system.refresh_memory();
                let available = Some(system.available_memory()).filter(|&bytes| bytes > 0);
                let machine = available.map(|bytes| FreeMemory { bytes, limit: None });
                machine.into_iter().chain(limits::room()).min_by_key(|free| free.bytes)
            }
            Self::Cuda => cuda::free_memory().map(|bytes| FreeMemory { bytes, limit: None }),
        }
    }
}

fn processor() -> DeviceInfo {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let brand = system.cpus().first().map_or("unknown", |cpu| cpu.brand().trim());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    DeviceInfo {
        device: Device::Cpu,
        name: format!("{brand}, {threads} threads"),
        memory: system.total_memory(),
        compute_capability: None,
        processors: None,
        driver_version: None,
    }
}

/// The driver API, loaded at run time.
pub(crate) mod cuda {
    use super::{Device, DeviceError, DeviceInfo};
    use cudarc::driver::{CudaContext, result, sys};
    use std::sync::Arc;

    /// Makes no context, which would take device memory.
    pub fn probe() -> Result<DeviceInfo, DeviceError> {
        // SAFETY: both only try to load a shared library and look at whether that worked.
        let (driver, nvrtc) = unsafe { (sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        if !driver {
            return Err(DeviceError::NoDriver);
        }
        let no_gpu = |error: result::DriverError| DeviceError::NoGpu(error.to_string());
        result::init().map_err(no_gpu)?;
        if result::device::get_count().map_err(no_gpu)? == 0 {
            return Err(DeviceError::NoGpu("no devices".into()));
        }
        if !nvrtc {
            return Err(DeviceError::NoNvrtc);
        }
        let device = result::device::get(0).map_err(no_gpu)?;
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
            device: Device::Cuda,
            name,
            memory: memory as u64,
            compute_capability: Some((major as u32, minor as u32)),
            processors: Some(processors as u32),
            driver_version: driver_version(),
        })
    }

    fn driver_version() -> Option<i32> {
        let mut version = 0;
        // SAFETY: the driver is loaded, and writes one integer to the pointer.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok().map(|()| version)
    }

    /// The context that everything on the first device shares, alive as long as any of its holders.
    pub fn context() -> Option<Arc<CudaContext>> {
        probe().ok()?;
        CudaContext::new(0).ok()
    }

    /// Free bytes of the first device while its context is there.
    pub fn free_memory() -> Option<u64> {
        let context = context()?;
        context.bind_to_thread().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free as u64)
    }
}
