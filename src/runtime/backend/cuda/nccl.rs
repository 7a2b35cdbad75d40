//! NVIDIA's library for exchanges between GPUs, which is loaded when the first program needs it.
//!
//! Bound here and not by cudarc, whose loader does not know the name under which PyPI's packages and distributions install it,
//! `libnccl.so.2`.

use crate::DeviceError;
use cudarc::driver::sys::CUstream;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A communicator of NCCL.
pub type Comm = *mut c_void;

/// What ranks know each other by when they meet.
pub type UniqueId = [u8; 128];

/// As NCCL takes it: by value.
#[repr(C)]
struct Id(UniqueId);

/// `ncclInt8`: everything is counted in bytes.
const BYTES: c_int = 0;

/// `ncclSuccess`.
const SUCCESS: c_int = 0;

/// The first version that exchanges can be recorded with in a CUDA graph, while other threads record theirs, as NCCL counts.
const FIRST: c_int = 21_300;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty = $symbol:literal;)*) => {
        /// The functions of the library.
        pub struct Nccl {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// Keeps the functions where they are.
            _library: Library,
        }

        impl Nccl {
            fn of(library: Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of NCCL's header, `nccl.h`, which has had them since 2.7.
                unsafe {
                    Ok(Self { $($name: *library.get($symbol)?,)* _library: library })
                }
            }
        }
    };
}

functions! {
    get_version: fn(*mut c_int) -> c_int = b"ncclGetVersion";
    get_unique_id: fn(*mut Id) -> c_int = b"ncclGetUniqueId";
    init_rank: fn(*mut Comm, c_int, Id, c_int) -> c_int = b"ncclCommInitRank";
    abort: fn(Comm) -> c_int = b"ncclCommAbort";
    destroy: fn(Comm) -> c_int = b"ncclCommDestroy";
    group_start: fn() -> c_int = b"ncclGroupStart";
    group_end: fn() -> c_int = b"ncclGroupEnd";
    send: fn(*const c_void, usize, c_int, c_int, Comm, CUstream) -> c_int = b"ncclSend";
    receive: fn(*mut c_void, usize, c_int, c_int, Comm, CUstream) -> c_int = b"ncclRecv";
    error_string: fn(c_int) -> *const c_char = b"ncclGetErrorString";
    last_error: fn(Comm) -> *const c_char = b"ncclGetLastError";
}

/// The library, once it is loaded.
///
/// # Errors
/// If it is not there, or too old; says what to install.
pub fn nccl() -> Result<&'static Nccl, DeviceError> {
    static NCCL: OnceLock<Result<Nccl, String>> = OnceLock::new();
    NCCL.get_or_init(load).as_ref().map_err(DeviceError::new)
}

fn load() -> Result<Nccl, String> {
    const INSTALL: &str = "install NCCL 2.13 or later, or `pip install nvidia-nccl-cu13` and put its library folder on LD_LIBRARY_PATH";
    // SAFETY: NCCL's library only registers itself when it is loaded.
    let library =
        ["libnccl.so.2", "libnccl.so"].into_iter().find_map(|name| unsafe { Library::new(name) }.ok());
    let library =
        library.ok_or_else(|| format!("NCCL, by which GPUs exchange values, cannot be loaded; {INSTALL}"))?;
    let nccl = Nccl::of(library).map_err(|error| format!("NCCL lacks a function ({error}); {INSTALL}"))?;
    match nccl.version() {
        Ok(version) if version >= FIRST => Ok(nccl),
        Ok(version) => Err(format!("NCCL {} is too old; {INSTALL}", written(version))),
        Err(error) => Err(format!("NCCL does not say which version it is ({error}); {INSTALL}")),
    }
}

/// The version of NCCL, as people write it: `2.28.9`.
pub fn version() -> Result<String, DeviceError> {
    let version = nccl()?.version().map_err(DeviceError::new)?;
    Ok(written(version))
}

fn written(version: c_int) -> String {
    // Versions before 2.9 have one digit less for the major number.
    let thousands = if version < 10_000 { 1_000 } else { 10_000 };
    format!("{}.{}.{}", version / thousands, version % thousands / 100, version % 100)
}

/// The outcome of a call of NCCL, in its own words.
type Outcome<T = ()> = Result<T, String>;

impl Nccl {
    fn outcome(&self, code: c_int) -> Outcome {
        if code == SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL returns a constant string for every code, and one that it keeps for the last error of any communicator.
        let [what, last] = unsafe { [(self.error_string)(code), (self.last_error)(std::ptr::null_mut())] }
            .map(|text| {
                if text.is_null() {
                    String::new()
                } else {
                    unsafe { CStr::from_ptr(text) }.to_string_lossy().into()
                }
            });
        let last = last.trim();
        let more = if last.is_empty() { "NCCL_DEBUG=WARN says more" } else { last };
        Err(format!("NCCL: {what}: {more}"))
    }

    fn version(&self) -> Outcome<c_int> {
        let mut version = 0;
        // SAFETY: it writes one number.
        self.outcome(unsafe { (self.get_version)(&raw mut version) }).map(|()| version)
    }

    /// A new identity, by which ranks meet.
    pub fn unique_id(&self) -> Outcome<UniqueId> {
        let mut id = Id([0; 128]);
        // SAFETY: it writes these bytes.
        self.outcome(unsafe { (self.get_unique_id)(&raw mut id) }).map(|()| id.0)
    }

    /// The communicator of `rank` among `ranks`, on the device whose context is current. Waits for all others.
    pub fn connect(&self, id: UniqueId, ranks: usize, rank: usize) -> Outcome<Comm> {
        let mut comm = std::ptr::null_mut();
        // SAFETY: it writes one pointer; the identity is one that NCCL made.
        let code = unsafe { (self.init_rank)(&raw mut comm, ranks as c_int, Id(id), rank as c_int) };
        self.outcome(code).map(|()| comm)
    }

    /// Enqueues `send` and `receive`, each of which calls its argument for every transfer: address, bytes, peer.
    ///
    /// # Safety
    /// The communicator must be connected, and at the addresses memory of its device of as many bytes, until the stream is done.
    pub unsafe fn exchange(
        &self,
        comm: Comm,
        sends: impl Iterator<Item = (u64, usize, usize)>,
        receives: impl Iterator<Item = (u64, usize, usize)>,
        stream: CUstream,
    ) -> Outcome {
        // SAFETY: as the caller vouches; a group that was started is ended.
        unsafe {
            self.outcome((self.group_start)())?;
            let mut outcome = Ok(());
            for (address, bytes, peer) in sends {
                let code = (self.send)(address as *const c_void, bytes, BYTES, peer as c_int, comm, stream);
                outcome = outcome.and_then(|()| self.outcome(code));
            }
            for (address, bytes, peer) in receives {
                let code = (self.receive)(address as *mut c_void, bytes, BYTES, peer as c_int, comm, stream);
                outcome = outcome.and_then(|()| self.outcome(code));
            }
            let ended = self.outcome((self.group_end)());
            outcome.and(ended)
        }
    }

    /// Ends what the communicator is doing, and the communicator.
    ///
    /// # Safety
    /// It must be connected, and not be used afterwards.
    pub unsafe fn abort(&self, comm: Comm) {
        // SAFETY: as the caller vouches. If it fails, there is nothing left to do.
        let _ = unsafe { (self.abort)(comm) };
    }

    /// Frees the communicator, when it has done everything.
    ///
    /// # Safety
    /// It must be connected, and not be used afterwards.
    pub unsafe fn destroy(&self, comm: Comm) {
        // SAFETY: as the caller vouches. If it fails, there is nothing left to do.
        let _ = unsafe { (self.destroy)(comm) };
    }
}
