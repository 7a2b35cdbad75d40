//! Page-locked memory, which the device reads while the host goes on.

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, PinnedHostSlice, result};
use std::sync::Arc;

/// Page-locked memory, and whether the device has read what was last written to it.
pub struct Locked {
    memory: PinnedHostSlice<u8>,
    is_read: CudaEvent,
}

impl Locked {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: nothing reads it before it is written.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) }?;
        Ok(Self { memory, is_read: context.new_event(None)? })
    }

    /// Has `write` fill the first `bytes` bytes, once the device has read the last ones, and enqueues copies of them on `stream`: one
    /// after the other, as many as each of `parts` says, to its address.
    ///
    /// # Safety
    /// Each address must be that of device memory of as many bytes, which stays allocated until `stream` has been waited for.
    pub unsafe fn copy(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&mut [u8]),
        parts: impl IntoIterator<Item = (usize, u64)>,
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        self.is_read.synchronize()?;
        let memory = &mut self.memory.as_mut_slice()?[..bytes];
        write(memory);
        let mut rest = &*memory;
        let copied = parts.into_iter().try_for_each(|(bytes, to)| {
            let (part, others) = rest.split_at(bytes);
            rest = others;
            // SAFETY: the caller vouches for the address; the memory is written again, or freed, only after the event below.
            unsafe { result::memcpy_htod_async(to, part, stream.cu_stream()) }
        });
        // Also if a copy could not be enqueued: those before it may be under way.
        self.is_read.record(stream).and(copied)
    }
}

/// Several, which are written in turns; each is there from its first turn on.
pub struct Turns<const COUNT: usize> {
    all: [Option<Locked>; COUNT],
    next: usize,
}

impl<const COUNT: usize> Default for Turns<COUNT> {
    fn default() -> Self {
        Self { all: std::array::from_fn(|_| None), next: 0 }
    }
}

impl<const COUNT: usize> Turns<COUNT> {
    /// The one whose turn it is, of at least this many bytes.
    pub fn take(&mut self, context: &Arc<CudaContext>, bytes: usize) -> Result<&mut Locked, DriverError> {
        let one = &mut self.all[self.next];
        self.next = (self.next + 1) % COUNT;
        if one.as_ref().is_none_or(|known| known.memory.len() < bytes) {
            *one = Some(Locked::new(context, bytes)?);
        }
        Ok(one.as_mut().expect("just taken"))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // If that fails, the device is lost.
        let _ = self.is_read.synchronize();
    }
}
