//! The CUDA engine: runs a graph of fused ops as Reflux's own kernels, in one block of memory, on its own stream.
//!
//! burn-cuda owns the device, the weights, inputs and results; the engine takes their addresses and waits for burn at the
//! graph's edges only. An op without a kernel in the engine runs on burn's kernels in between, with a warning.

mod added;
mod attention;
mod autotune;
mod blocks;
mod burn_backend;
mod burn_memory;
mod cache;
mod compile;
mod cublaslt;
mod driver;
mod engine;
mod fallback;
mod gemm;
mod known;
mod launch;
mod link;
mod locked;
mod matmul;
mod nccl;
mod nvidia;
mod plan;
mod room;
mod runner;
mod source;
mod tensor_map;
mod transfer;
mod unsupported;
mod view;
mod wgmma;

pub use compile::{CompileError, Compiler};
pub use fallback::fallback;
pub(crate) use nvidia::Nvidia;
pub use plan::{Buffer, Crossing, Exchange, ForeignOp, Launch, LaunchPlan, Owner, Piece, Transfer, plan};

use crate::RunError;
use crate::backend::DeviceInfo;
use std::hash::{DefaultHasher, Hash, Hasher};

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What a plan has to know about its GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its compute capability.
    pub capability: (u32, u32),
    /// How many multiprocessors it has.
    pub processors: u32,
    /// Which of a program's devices it is, from 0.
    pub rank: usize,
}

impl Gpu {
    /// The GPU that `info` describes.
    fn of(info: &DeviceInfo) -> Self {
        Self {
            capability: info.compute_capability.unwrap_or((8, 0)),
            processors: info.processors.unwrap_or(1),
            rank: 0,
        }
    }

    /// Whether it has Hopper's wgmma and TMA (`sm_90a`).
    fn is_hopper(self) -> bool {
        self.capability == (9, 0)
    }
}

fn failed(what: &str, error: impl std::fmt::Debug) -> RunError {
    RunError::Backend { line: what.to_owned(), message: format!("{error:?}") }
}
