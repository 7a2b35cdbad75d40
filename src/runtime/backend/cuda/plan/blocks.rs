//! Numbers of GGML's blocks.

use super::planner::Planner;
use crate::backend::cuda::source::{Kernel, PRELUDE, Stored, c_type};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::Pointer;
use reflux_ir::{Fact, ValueId};

const THREADS: usize = 256;

/// Neighbours that one thread makes.
const EACH: usize = 8;

impl Planner<'_> {
    /// The numbers, of type `fact`, of `blocks`.
    pub(super) fn dequantize_blocks(
        &mut self,
        id: ValueId,
        blocks: ValueId,
        fact: &Fact,
    ) -> Result<Stored, Unsupported> {
        let format = self.graph[blocks].fact.dtype.block().expect("it has blocks");
        let (blocks, made) = (self.data(blocks)?, self.target(id, fact));
        if !made.data.is_contiguous() || !made.data.offset.is_multiple_of(EACH) {
            return Err(Unsupported("numbers of blocks are made one after another".into()));
        }
        let count = fact.shape.elements();
        let constants = format!(
            "{PRELUDE}\n#define OUT {}\n#define COUNT {count}LL\n#define BLOCK {}\n#define BLOCK_BYTES {}\n#define DECODE {}\n",
            c_type(fact.dtype),
            format.elements(),
            format.bytes(),
            format.codec().name,
        );
        self.push(
            id,
            Kernel {
                name: "dequantize_blocks".into(),
                text: format!("{constants}{}", include_str!("../kernels/dequantize_blocks.cuh")),
                grid: [count.div_ceil(EACH * THREADS) as u32, 1, 1],
                block: THREADS as u32,
                shared: 0,
                maps: Vec::new(),
                pointers: [&blocks, &made.data].map(Pointer::to).to_vec(),
            },
        );
        Ok(made)
    }
}
