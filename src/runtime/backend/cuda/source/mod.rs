//! CUDA text of formulas: one kernel for each formula and each way in which its operands lie.
//!
//! A row is taken by a part of a warp or by a block and is in registers from the first load to the last store, so a formula costs one
//! pass over memory however many terms it has. Everything is computed in f32 (see [`reflux_ir::op::Body`]).

mod epilogue;
mod layout;
mod rowwise;
mod terms;
mod writer;

pub use epilogue::{Epilogue, Part, epilogue};
pub use layout::Layout;
pub use rowwise::{is_elementwise, rowwise};
pub use terms::encoding;
pub use writer::{Coding, Product, Scaling, Stored};

use super::tensor_map::TensorMap;
use super::unsupported::{Unsupported, unsupported};
use super::view::Pointer;
use reflux_ir::DType;

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

/// The type of C of an element.
pub fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I32 => "int",
        DType::I8 => "signed char",
        DType::F8E4M3 => "f8e4m3",
        DType::U4 => "u4x2",
    }
}

/// How many things of its type in C so many elements are.
fn stored(dtype: DType, elements: usize) -> usize {
    if dtype == DType::U4 { elements / 2 } else { elements }
}

/// The function that rounds to a dtype and stays f32.
fn rounding(dtype: DType) -> Result<&'static str, Unsupported> {
    match dtype {
        DType::F32 => Ok("round_to_f32"),
        DType::BF16 => Ok("round_to_bf16"),
        DType::F16 => Ok("round_to_f16"),
        other => unsupported(format!("numbers are not rounded to {other}")),
    }
}
