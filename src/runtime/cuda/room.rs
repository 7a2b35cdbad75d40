//! Device memory that the engines of a program's graphs share: they run one after the other.

use super::failed;
use crate::RunError;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Memory that cuBLASLt may work in, in bytes; NVIDIA's advice for Hopper is 32 MiB.
pub const WORKSPACE: usize = 64 << 20;

/// A stream, what is worked in on it, and the values inside of a graph.
pub struct Room {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    workspace: CudaSlice<u8>,
    /// What the largest of the plans needs, in bytes.
    needed: Cell<usize>,
    /// Taken when something runs: while weights are loaded, it would be in the way.
    arena: RefCell<Option<CudaSlice<u8>>>,
}

impl Room {
    pub fn new() -> Result<Self, RunError> {
        let context = CudaContext::new(0).map_err(|error| failed("the CUDA context", error))?;
        // The room's stream is the only one that touches what is launched on it; waits are its own.
        // SAFETY: no slice of this context is used on two streams at once.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|error| failed("the CUDA stream", error))?;
        let workspace = taken(&stream, WORKSPACE)?;
        Ok(Self { context, stream, workspace, needed: Cell::new(0), arena: RefCell::default() })
    }

    /// Announces a plan whose values take `bytes`.
    pub fn need(&self, bytes: usize) {
        self.needed.set(self.needed.get().max(bytes));
    }

    /// The address of WORKSPACE bytes.
    pub fn workspace(&self) -> u64 {
        self.workspace.device_ptr(&self.stream).0
    }

    /// The address of as many bytes as the largest of the announced plans needs.
    pub fn arena(&self) -> Result<u64, RunError> {
        let mut arena = self.arena.borrow_mut();
        if arena.as_ref().is_none_or(|arena| arena.len() < self.needed.get()) {
            // The old one goes first.
            *arena = None;
            *arena = Some(taken(&self.stream, self.needed.get().max(1))?);
        }
        Ok(arena.as_ref().expect("just taken").device_ptr(&self.stream).0)
    }
}

fn taken(stream: &Arc<CudaStream>, bytes: usize) -> Result<CudaSlice<u8>, RunError> {
    // SAFETY: nothing is read that was not written before: plans write each value before they read it.
    unsafe { stream.alloc::<u8>(bytes) }.map_err(|error| failed("device memory", error))
}
