//! Numbers of GGML's blocks.

use super::planner::Planner;
use crate::backend::cuda::source::{EACH, Kernel, StoredValue, dequantize_blocks};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::Pointer;
use reflux_ir::{Fact, ValueId};

impl Planner<'_> {
    /// The numbers, of type `fact`, of `blocks`.
    pub(super) fn dequantize_blocks(
        &mut self,
        id: ValueId,
        blocks: ValueId,
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let format = self.graph[blocks].fact.dtype.block().expect("it has blocks");
        let (blocks, made) = (self.data(blocks)?, self.target(id, fact));
        if !made.data.is_contiguous() || !made.data.offset.is_multiple_of(EACH) {
            return Err(Unsupported("numbers of blocks are made one after another".into()));
        }
        let pointers = [&blocks, &made.data].map(Pointer::to).to_vec();
        self.push(id, Kernel { pointers, ..dequantize_blocks(format, fact.dtype, fact.shape.elements()) });
        Ok(made)
    }
}
