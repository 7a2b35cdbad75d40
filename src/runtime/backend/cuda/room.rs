//! Device memory that the engines of a program's graphs share: they run one after the other.

use super::failed;
use super::link::Link;
use super::locked::Turns;
use super::plan::SIGNALS;
use crate::RunError;
use crate::ranks::Rank;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, PinnedHostSlice, result};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Memory that cuBLASLt may work in, in bytes; NVIDIA's advice for Hopper is 32 MiB.
pub const WORKSPACE: usize = 64 << 20;

/// How many uploads may be under way: a step has two, and one is enqueued while another runs.
const UPLOADS: usize = 6;

/// A stream, its workspace, and the memory for values inside of graphs.
pub struct Room {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    workspace: CudaSlice<u8>,
    /// See [`Owner::Signals`](super::plan::Owner::Signals).
    signals: CudaSlice<u32>,
    /// The bytes that the largest of the plans needs.
    needed: Cell<usize>,
    /// Allocated when something first runs, so that it takes no memory while weights are loaded.
    arena: RefCell<Option<Arena>>,
    /// Through which small data goes to the device, in turns: so the next steps' data can be there before a step is done.
    uploads: RefCell<Turns<UPLOADS>>,
    /// Through which small data comes back.
    download: RefCell<Option<PinnedHostSlice<u8>>>,
    /// The link to the other devices of the program, if there are any.
    pub link: Option<Link>,
}

impl Room {
    /// On the GPU with this number, which is that of `rank`, if the program is for several.
    pub fn new(ordinal: usize, rank: Option<&Rank>) -> Result<Self, RunError> {
        let context = CudaContext::new(ordinal).map_err(|error| failed("the CUDA context", error))?;
        // Only the room's stream uses memory of this context, so events to synchronise streams are not needed.
        // SAFETY: no slice of this context is used on two streams at once.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|error| failed("the CUDA stream", error))?;
        let workspace = taken(&stream, WORKSPACE)?;
        let signals = stream.alloc_zeros(SIGNALS).map_err(|error| failed("device memory", error))?;
        context.bind_to_thread().map_err(|error| failed("the CUDA context", error))?;
        let link = rank.map(Link::new).transpose()?;
        Ok(Self {
            context,
            stream,
            workspace,
            signals,
            needed: Cell::new(0),
            arena: RefCell::default(),
            uploads: RefCell::default(),
            download: RefCell::default(),
            link,
        })
    }

    /// Which of the program's devices it is, from 0.
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.rank.index)
    }

    /// Registers a plan whose values take `bytes`.
    pub fn need(&self, bytes: usize) {
        self.needed.set(self.needed.get().max(bytes));
    }

    /// The address of [`WORKSPACE`] bytes.
    pub fn workspace(&self) -> u64 {
        self.workspace.device_ptr(&self.stream).0
    }

    /// The address of [`SIGNALS`] words that are zero whenever no kernel runs.
    pub fn signals(&self) -> u64 {
        self.signals.device_ptr(&self.stream).0
    }

    /// Enqueues copies of host memory to addresses on the device.
    ///
    /// # Safety
    /// Each address must be that of device memory of as many bytes, which stays allocated until the stream has been waited for.
    pub unsafe fn upload(&self, parts: &[(&[u8], u64)]) -> Result<(), DriverError> {
        let bytes = parts.iter().map(|(from, _)| from.len()).sum();
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind_to_thread()?;
        let mut uploads = self.uploads.borrow_mut();
        let upload = uploads.take(&self.context, bytes)?;
        let write = |mut memory: &mut [u8]| {
            for (from, _) in parts {
                let (part, rest) = memory.split_at_mut(from.len());
                part.copy_from_slice(from);
                memory = rest;
            }
        };
        // SAFETY: the caller vouches for the addresses.
        unsafe { upload.copy(bytes, write, parts.iter().map(|(from, to)| (from.len(), *to)), &self.stream) }
    }

    /// What is enqueued up to here; the result waits for it.
    pub fn mark(&self) -> Result<impl FnOnce() -> Result<(), DriverError> + 'static, DriverError> {
        self.context.bind_to_thread()?;
        let here = self.stream.record_event(None)?;
        Ok(move || here.synchronize())
    }

    /// The bytes at an address on the device, once everything enqueued is done.
    ///
    /// # Safety
    /// At the address is device memory of as many bytes.
    pub unsafe fn download(&self, from: u64, bytes: usize) -> Result<Vec<u8>, DriverError> {
        self.context.bind_to_thread()?;
        let mut memory = self.download.borrow_mut();
        if memory.as_ref().is_none_or(|memory| memory.len() < bytes) {
            // SAFETY: nothing reads it before it is written.
            *memory = Some(unsafe { self.context.alloc_pinned_with_flags::<u8>(bytes.max(1), 0) }?);
        }
        let memory = &mut memory.as_mut().expect("just taken").as_mut_slice()?[..bytes];
        // SAFETY: the caller vouches for the address; the stream is waited for before the bytes are read.
        unsafe { result::memcpy_dtoh_async(memory, from, self.stream.cu_stream()) }?;
        self.stream.synchronize()?;
        Ok(memory.to_vec())
    }

    /// The address of as many bytes as the largest of the registered plans needs.
    pub fn arena(&self) -> Result<u64, RunError> {
        let mut arena = self.arena.borrow_mut();
        if arena.as_ref().is_none_or(|arena| arena.bytes < self.needed.get()) {
            // The old one is freed first.
            *arena = None;
            *arena = Some(Arena::new(&self.context, self.needed.get().max(1))?);
        }
        Ok(arena.as_ref().expect("just taken").address)
    }
}

/// Memory that other GPUs can reach, which memory of CUDA's pools is not: NCCL reads and writes it from there.
struct Arena {
    context: Arc<CudaContext>,
    address: u64,
    bytes: usize,
}

impl Arena {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, RunError> {
        let taken = context.bind_to_thread().and_then(|()| {
            // SAFETY: plans write each value before they read it.
            unsafe { result::malloc_sync(bytes) }
        });
        let address = taken.map_err(|error| failed("device memory", error))?;
        Ok(Self { context: context.clone(), address, bytes })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: it was taken by `new`; freeing it waits for what still uses it. If that fails, the device is lost.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

fn taken(stream: &Arc<CudaStream>, bytes: usize) -> Result<CudaSlice<u8>, RunError> {
    // SAFETY: plans write each value before they read it.
    unsafe { stream.alloc::<u8>(bytes) }.map_err(|error| failed("device memory", error))
}
