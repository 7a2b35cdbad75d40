//! Quantization of a whole tensor with one scale: a kernel for the largest magnitudes of parts, then one for the codes.

use super::planner::Planner;
use crate::backend::cuda::source::{Kernel, PRELUDE, StoredValue, c_type, encoding};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::Quantize;
use reflux_ir::{DType, Fact, ValueId};

const THREADS: u32 = 256;

impl Planner<'_> {
    /// See [`Quantize`].
    pub(super) fn quantize_all(
        &mut self,
        id: ValueId,
        op: &Quantize,
        x: ValueId,
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        self.takes_codes(fact)?;
        let x = self.data(x)?;
        let x = if x.is_contiguous() { x } else { self.copied(id, &x) };
        let count: usize = x.shape.iter().product();
        let is_taken = |&vector: &usize| count.is_multiple_of(vector) && x.offset.is_multiple_of(vector);
        let vector = [8, 4, 2, 1].into_iter().find(is_taken).unwrap_or(1);
        // Enough to keep the memory busy, but none without work.
        let parts = (8 * self.gpu.processors).min((count / vector).div_ceil(THREADS as usize) as u32).max(1);
        let (encode, most, round) = encoding(op)?;
        let made = self.target(id, fact);
        let scales = &made.coding.as_ref().expect("codes have scales").scales;
        let largest = self.room(&[parts as usize], DType::F32);
        let constants = format!(
            "{PRELUDE}\n#define ELEMENT {}\n#define CODE {}\n#define COUNT {count}LL\n#define VECTOR {vector}\n\
             #define PARTS {parts}\n#define THREADS {THREADS}\n#define ROUND {round}\n#define ENCODE {encode}\n\
             #define MOST {most:?}f\n#define EPS {:?}f\n",
            c_type(x.dtype),
            c_type(fact.dtype),
            op.eps.0 as f32
        );
        let kernel = |name: &str, text: &str, views: &[&View]| Kernel {
            name: name.to_owned(),
            text: format!("{constants}{text}"),
            grid: [parts, 1, 1],
            block: THREADS,
            shared: 0,
            maps: Vec::new(),
            pointers: views.iter().map(|view| Pointer::to(view)).collect(),
        };
        let text = include_str!("../kernels/largest.cuh");
        let first = kernel("largest", text, &[&x, &largest]);
        let text = include_str!("../kernels/quantize_tensor.cuh");
        let second = kernel("quantize_tensor", text, &[&x, &largest, &made.data, scales]);
        self.push(id, first);
        self.push(id, second);
        Ok(made)
    }
}
