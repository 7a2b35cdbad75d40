//! Numbers of GGML's blocks.

use super::{Kernel, PRELUDE, c_type};
use reflux_ir::{BlockFormat, DType};

const THREADS: usize = 256;

/// Neighbours that one thread makes.
pub const EACH: usize = 8;

/// The kernel that reads blocks of `format` at its first pointer and writes their `count` numbers, of type `dtype`, to its
/// second. Its pointers are left to the caller.
pub fn dequantize_blocks(format: BlockFormat, dtype: DType, count: usize) -> Kernel {
    let constants = format!(
        "{PRELUDE}\n#define OUT {}\n#define COUNT {count}LL\n#define BLOCK {}\n#define BLOCK_BYTES {}\n#define DECODE {}\n",
        c_type(dtype),
        format.elements(),
        format.bytes(),
        format.codec().name,
    );
    Kernel {
        name: "dequantize_blocks".into(),
        text: format!("{constants}{}", include_str!("../kernels/dequantize_blocks.cuh")),
        grid: [count.div_ceil(EACH * THREADS) as u32, 1, 1],
        block: THREADS as u32,
        shared: 0,
        maps: Vec::new(),
        pointers: Vec::new(),
    }
}
