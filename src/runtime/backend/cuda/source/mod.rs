//! CUDA source of formulas: one kernel for each formula and layout of operands.
//!
//! A part of a warp, or a block, computes a row, which is in registers from the first load to the last store. So a formula
//! costs one pass over memory, however many terms it has. Everything is computed in f32 (see [`reflux_ir::op::Body`]).

mod blocks;
mod dtype;
mod epilogue;
mod layout;
mod rowwise;
mod terms;
mod writer;

pub use blocks::{EACH, dequantize_blocks};
pub use dtype::{c_type, encoding};
pub use epilogue::{Epilogue, PlacedSegment, epilogue};
pub use layout::RowLayout;
pub use rowwise::rowwise;
pub use writer::{Accumulator, Coding, Scaling, StoredValue};

use super::tensor_map::TensorMap;
use super::unsupported::{Unsupported, unsupported};
use super::view::Pointer;
use dtype::{rounding, stored};

/// Functions that the kernels share.
pub const PRELUDE: &str =
    concat!(include_str!("../kernels/basics.cuh"), include_str!("../kernels/rowwise.cuh"));

/// A kernel and how to launch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The name of the function and of its file.
    pub name: String,
    pub text: String,
    pub grid: [u32; 3],
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// The tensors that it fetches by TMA, which are its first arguments.
    pub maps: Vec<TensorMap>,
    /// The targets of its pointer arguments, in order.
    pub pointers: Vec<Pointer>,
}

impl Kernel {
    /// Its text without the functions that all kernels share.
    pub fn own_text(&self) -> String {
        self.text.replacen(PRELUDE, "", 1)
    }
}
