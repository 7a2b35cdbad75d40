//! Attention with a single head of any width, as in image decoders: scores, softmax and sums as separate kernels, for some
//! queries at a time.

use super::planner::Planner;
use crate::backend::cuda::gemm;
use crate::backend::cuda::matmul::MatmulKind;
use crate::backend::cuda::source::{self, Kernel, PRELUDE, PlacedSegment, Scaling};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{Arg, Attention, Body};
use reflux_ir::{DType, ValueId};

/// Queries at a time, which limits the memory for their scores.
const QUERIES: usize = 4096;

impl Planner<'_> {
    /// `op` over q, k and v, each `[batch, tokens, 1, dim]`, to `out`.
    pub(super) fn single_head(
        &mut self,
        id: ValueId,
        op: &Attention,
        [q, k, v]: [&View; 3],
        out: &View,
    ) -> Result<(), Unsupported> {
        if op.causal {
            return Err(Unsupported("there is no kernel for a single head with a mask".into()));
        }
        for batch in 0..q.shape[0] {
            let matrix = |view: &View| {
                let view = view.slice(0, batch, batch + 1);
                View {
                    shape: vec![view.shape[1], view.shape[3]],
                    strides: vec![view.strides[1], view.strides[3]],
                    ..view
                }
            };
            let [q, k, v, out] = [q, k, v, out].map(matrix);
            // The second product needs contiguous rows along the summed axis.
            let v = self.copied(id, &v.permuted(&[1, 0]));
            for first in (0..q.shape[0]).step_by(QUERIES) {
                let last = (first + QUERIES).min(q.shape[0]);
                let scores = self.room(&[last - first, k.shape[0]], DType::F32);
                self.product(id, &q.slice(0, first, last), &k, &scores)?;
                let weights = self.room(&scores.shape, DType::BF16);
                self.push(id, softmax(&scores, op.scale.0, &weights)?);
                self.product(id, &weights, &v, &out.slice(0, first, last))?;
            }
        }
        Ok(())
    }

    /// `y = x · Wᵀ`.
    fn product(&mut self, id: ValueId, x: &View, weight: &View, y: &View) -> Result<(), Unsupported> {
        let part = PlacedSegment { columns: 0..y.shape[1], body: Body::of(Arg::Acc), target: y.clone() };
        let scaling = Scaling::default();
        let kernels = gemm::kernels(self.gpu, MatmulKind::Bf16, [x, weight], &scaling, &[], &[part], &[])?;
        self.push_one_of(id, kernels);
        Ok(())
    }
}

/// A kernel that computes `softmax(scale · scores)` row by row and writes it to `weights`; both are contiguous matrices.
fn softmax(scores: &View, scale: f64, weights: &View) -> Result<Kernel, Unsupported> {
    let layout = source::RowLayout::of_rows(scores.shape[1]);
    let rows = u32::try_from(scores.shape[0]).map_err(|error| Unsupported(error.to_string()))?;
    let source::RowLayout { columns, threads, vector, .. } = layout;
    Ok(Kernel {
        name: "softmax".into(),
        text: format!(
            "{PRELUDE}\n#define LAYOUT {layout}\n#define COLUMNS {columns}\n#define THREADS {threads}\n\
             #define VECTOR {vector}\n#define ELEMENTS {}\n#define SCALE_LOG2 {:?}f\n{}",
            layout.elements(),
            (scale * std::f64::consts::LOG2_E) as f32,
            include_str!("../kernels/softmax.cuh")
        ),
        grid: [rows, 1, 1],
        block: u32::try_from(threads).expect("blocks are small"),
        shared: 0,
        maps: Vec::new(),
        pointers: vec![Pointer::to(scores), Pointer::to(weights)],
    })
}
