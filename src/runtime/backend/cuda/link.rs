//! The link between the GPUs of a program.

use super::nccl::{Comm, Nccl, UniqueId, nccl};
use super::plan::{Exchange, Transfer};
use crate::RunError;
use crate::ranks::Rank;
use cudarc::driver::CudaStream;
use reflux_ir::{DType, HostTensor};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A GPU's end of the link.
pub struct Link {
    nccl: &'static Nccl,
    /// Null once it has ended.
    comm: Arc<AtomicPtr<std::ffi::c_void>>,
    pub rank: Rank,
}

impl Link {
    /// Connects this rank's GPU, whose context is current, with those of all others. If one of them fails later, the link ends.
    ///
    /// # Errors
    /// If there is no NCCL, or it cannot connect them.
    pub fn new(rank: &Rank) -> Result<Self, RunError> {
        let nccl = nccl()?;
        let own = if rank.index == 0 { nccl.unique_id().map_err(failed)?.to_vec() } else { Vec::new() };
        let own = HostTensor::new(DType::I8, vec![own.len()], own);
        let all = rank.meeting.exchange(rank.index, own)?;
        let id =
            UniqueId::try_from(&all[0].bytes[..]).map_err(|_| failed("rank 0 has no identity".into()))?;
        let comm = nccl.connect(id, rank.meeting.ranks(), rank.index).map_err(failed)?;
        let comm = Arc::new(AtomicPtr::new(comm));
        let ends = comm.clone();
        rank.meeting.at_end(move || {
            // What runs stops at once. Then NCCL waits until nothing is left that exchanges are recorded in, for which nobody here can
            // wait.
            let comm = Ended(ends.swap(null_mut(), Ordering::AcqRel));
            std::thread::spawn(move || comm.abort(nccl));
        });
        Ok(Self { nccl, comm, rank: rank.clone() })
    }

    /// Enqueues `exchange` of the buffers at `bases`.
    ///
    /// # Safety
    /// The transfers must be within the buffers, which stay allocated until the stream is done.
    pub unsafe fn exchange(
        &self,
        exchange: &Exchange,
        bases: &[u64],
        stream: &CudaStream,
    ) -> Result<(), RunError> {
        let comm: Comm = self.comm.load(Ordering::Acquire);
        if comm.is_null() {
            return Err(RunError::Abandoned);
        }
        let placed = |transfer: &Transfer| (transfer.at.address(bases), transfer.bytes, transfer.peer);
        let (sends, receives) = (exchange.sends.iter().map(placed), exchange.receives.iter().map(placed));
        // SAFETY: it is connected; the caller vouches for the memory.
        unsafe { self.nccl.exchange(comm, sends, receives, stream.cu_stream()) }.map_err(failed)
    }
}

/// A communicator that nobody else finds any more, or null.
struct Ended(Comm);

// SAFETY: NCCL's communicators may be aborted from any thread.
unsafe impl Send for Ended {}

impl Ended {
    fn abort(self, nccl: &Nccl) {
        if !self.0.is_null() {
            // SAFETY: it was connected, and nobody finds it any more.
            unsafe { nccl.abort(self.0) };
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let comm = self.comm.swap(null_mut(), Ordering::AcqRel);
        if !comm.is_null() {
            // SAFETY: it is connected, and nobody finds it here any more.
            unsafe { self.nccl.destroy(comm) };
        }
    }
}

fn failed(message: String) -> RunError {
    RunError::Backend { line: "the link between GPUs".into(), message }
}
