//! Compilation of kernels by NVRTC, with a cache on disk.

use super::cache::{KernelCache, keep, kept};
use cudarc::nvrtc::{result, sys};
use std::ffi::{CStr, CString};

/// Why a kernel could not be compiled: a bug of its generator, or a broken installation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel `{name}` does not compile for {arch}: {log}")]
pub struct CompileError {
    pub name: String,
    pub arch: String,
    pub log: String,
}

/// Compiles for one architecture.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The architecture, by NVRTC's name: `sm_90a`.
    arch: String,
    /// The cache of compiled kernels.
    cache: KernelCache,
}

impl Compiler {
    /// The target for this compute capability. On Hopper it includes the architecture-specific instructions (`sm_90a`).
    pub fn new((major, minor): (u32, u32)) -> Self {
        let suffix = if (major, minor) == (9, 0) { "a" } else { "" };
        Self { arch: format!("sm_{major}{minor}{suffix}"), cache: KernelCache::of_user() }
    }

    /// Whether NVRTC can be loaded.
    pub fn is_present() -> bool {
        // SAFETY: this only tries to load a shared library.
        unsafe { sys::is_culib_present() }
    }

    /// A compiler for `arch`, without a cache.
    pub fn of_arch(arch: &str) -> Self {
        Self { arch: arch.to_owned(), cache: KernelCache::none() }
    }

    /// The cubin of `text`, which contains one kernel, `name`.
    pub fn compile(&self, name: &str, text: &str) -> Result<Vec<u8>, CompileError> {
        let key = format!("{}\n{}\n{text}", nvrtc_version(), self.arch);
        let path = self.cache.path(&key, "cubin");
        if let Some(cubin) = path.as_deref().and_then(kept) {
            return Ok(cubin);
        }
        let (cubin, _) = self.run(name, text, &[])?;
        if let Some(path) = path {
            keep(&path, &cubin);
        }
        Ok(cubin)
    }

    /// The assembler's report on `text`, which contains one kernel, `name`: its registers, and the bytes that it spills.
    pub fn report(&self, name: &str, text: &str) -> Result<String, CompileError> {
        self.run(name, text, &["--ptxas-options=-v"]).map(|(_, log)| log)
    }

    /// The cubin, and NVRTC's log.
    fn run(&self, name: &str, text: &str, options: &[&str]) -> Result<(Vec<u8>, String), CompileError> {
        let failed = |log: String| CompileError { name: name.to_owned(), arch: self.arch.clone(), log };
        let text = CString::new(text).map_err(|error| failed(error.to_string()))?;
        let program = result::create_program(&text, None).map_err(|error| failed(format!("{error:?}")))?;
        let own = [format!("--gpu-architecture={}", self.arch), "--std=c++17".to_owned()];
        let options: Vec<String> =
            own.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect();
        // SAFETY: the program was created above and is destroyed once, below; it writes to buffers of the sizes
        // that it gave.
        unsafe {
            let outcome = result::compile_program(program, &options);
            let log = result::get_program_log(program).unwrap_or_default();
            let log = CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned();
            let cubin = match outcome {
                Ok(()) => {
                    let cubin = cubin_of(program).map_err(|error| failed(format!("{error:?}")));
                    cubin.map(|cubin| (cubin, log))
                }
                Err(error) => Err(failed(format!("{error:?}\n{log}"))),
            };
            let _ = result::destroy_program(program);
            cubin
        }
    }
}

/// # Safety
/// `program` is a compiled program that is not destroyed yet.
unsafe fn cubin_of(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: as above; NVRTC writes one number, and then as many bytes as that says.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &raw mut size).result()?;
        let mut cubin = vec![0u8; size];
        sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result()?;
        Ok(cubin)
    }
}

pub(super) fn nvrtc_version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: NVRTC writes one number to each pointer.
    let outcome = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    outcome.result().map(|()| format!("{major}.{minor}")).unwrap_or_default()
}
