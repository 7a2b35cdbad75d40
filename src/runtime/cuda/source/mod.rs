//! CUDA text of formulas: one kernel for each formula and each way in which its operands lie.
//!
//! A row is taken by a part of a warp or by a block and is in registers from the first load to the last store, so a formula costs one
//! pass over memory however many terms it has. Everything is computed in f32 (see [`reflux_ir::op::Body`]).

mod dtype;
mod finish;
mod layout;
mod rowwise;
mod terms;
mod writer;

pub use dtype::{c_type, encoding};
pub use finish::{Finish, Part, finish};
pub use layout::Layout;
pub use rowwise::{is_elementwise, rowwise};
pub use writer::{Coding, Product, Scaling, Stored};

use super::tensor_map::TensorMap;
use super::view::View;
use dtype::{rounding, stored};

/// Functions that the kernels share.
pub const PRELUDE: &str =
    concat!(include_str!("../kernels/basics.cuh"), include_str!("../kernels/rowwise.cuh"));

/// A kernel and how to launch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Of the function, and of the file that it is in.
    pub name: String,
    pub text: String,
    pub grid: [u32; 3],
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// What it fetches by TMA, its first arguments.
    pub maps: Vec<TensorMap>,
    /// What its pointers point to, in order.
    pub pointers: Vec<Pointer>,
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub buffer: usize,
    /// In bytes, from the start of the buffer.
    pub offset: usize,
}

impl Pointer {
    /// The first element of a view.
    pub fn to(view: &View) -> Self {
        Self { buffer: view.buffer, offset: view.offset * view.dtype.bits() / 8 }
    }

    /// Where it points to, by where each buffer is.
    pub fn address(&self, bases: &[u64]) -> u64 {
        bases[self.buffer] + self.offset as u64
    }
}

/// Why there is no kernel for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

fn unsupported<T>(why: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(why.into()))
}
