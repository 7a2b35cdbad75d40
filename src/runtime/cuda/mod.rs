//! The CUDA engine: a graph of fused ops as kernels of our own over one block of memory, on a stream of its own.
//!
//! burn-cuda owns the device, the weights, inputs and results; the engine takes their addresses and waits for burn at the
//! graph's edges only. An op that it has no kernel for runs on burn's kernels in between, which is said.

mod attention;
mod burn_backend;
mod burn_memory;
mod cache;
mod choice;
mod compile;
mod engine;
mod fallback;
mod gemm;
mod launch;
mod matmul;
mod plan;
mod room;
mod source;
mod tensor_map;
mod transfer;
mod view;
mod wgmma;

pub(crate) use burn_memory::{in_one_piece, upload_flat};
pub use compile::{CompileError, Compiler};
pub use engine::{Addresses, Engine, Refused};
pub use fallback::fallback;
pub use plan::{Edge, Foreign, Launch, Piece, Place, Plan, plan};
pub(crate) use room::WORKSPACE;
pub(crate) use transfer::{Uploader, compact, concat, release_unused};

use crate::RunError;
use std::hash::{DefaultHasher, Hash, Hasher};

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
    /// The first device, if there is one.
    pub fn probe() -> Option<Self> {
        let info = crate::Device::Cuda.probe().ok()?;
        Some(Self {
            capability: info.compute_capability.unwrap_or((8, 0)),
            processors: info.processors.unwrap_or(1),
        })
    }

    /// Whether it has wgmma and TMA, which came and went with this generation's instructions of its own.
    fn is_hopper(self) -> bool {
        self.capability == (9, 0)
    }
}

fn failed(what: &str, error: impl std::fmt::Debug) -> RunError {
    RunError::Backend { line: what.to_owned(), message: format!("{error:?}") }
}
