//! Kernels of rowwise formulas without a product, one row at a time.

use super::writer::{Accumulator, StoredValue, Writer, indices};
use super::{Kernel, PRELUDE};
use crate::backend::cuda::hash;
use crate::backend::cuda::unsupported::{Unsupported, unsupported};
use crate::backend::cuda::view::View;
use reflux_ir::op::Body;
use std::fmt::Write;

/// A kernel that writes `body` over `operands` to `target`.
pub fn rowwise(
    body: &Body,
    operands: &[StoredValue],
    acc: Option<&Accumulator>,
    target: &StoredValue,
) -> Result<Kernel, Unsupported> {
    if acc.is_none() && body.works_by_elements() {
        // Axes are used in the order in which they are written to memory. A scalar is a row of one element.
        let (rank, order) = (target.data.shape.len(), target.data.order());
        let seen = |view: &View| view.with_rank(rank).permuted(&order).with_rank(rank.max(1));
        let operands: Vec<StoredValue> = operands.iter().map(|operand| seen(&operand.data).into()).collect();
        return rows(body, &operands, None, &seen(&target.data).into());
    }
    rows(body, operands, acc, target)
}

fn rows(
    body: &Body,
    operands: &[StoredValue],
    acc: Option<&Accumulator>,
    target: &StoredValue,
) -> Result<Kernel, Unsupported> {
    let mut writer = Writer::new(operands, acc, target)?;
    writer.body(body)?;
    writer.kernel()
}

impl Writer<'_> {
    /// The kernel that runs the generated code for every row.
    fn kernel(self) -> Result<Kernel, Unsupported> {
        let rows: usize = self.shape[..self.shape.len() - 1].iter().product();
        let Ok(grid) = u32::try_from(rows) else {
            return unsupported(format!("there are too many rows ({rows})"));
        };
        let per_block = self.layout.rows_per_block();
        let threads = self.layout.threads;
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(head, "  begin();\n  const int lane = threadIdx.x % {threads};");
        let _ = writeln!(head, "  const unsigned row = blockIdx.x * {per_block}u + threadIdx.x / {threads};");
        let _ = writeln!(head, "  if (row >= {rows}u) return;");
        head += &indices(&self.shape);
        let body = format!("({}) {{\n{head}{}}}\n", self.parameters.join(", "), self.code);
        let name = format!("rowwise_{:016x}", hash(&body));
        let block = u32::try_from(threads * per_block).expect("blocks are small");
        Ok(Kernel {
            text: format!("{PRELUDE}\nextern \"C\" __global__ void __launch_bounds__({block}) {name}{body}"),
            name,
            grid: [grid.div_ceil(per_block as u32), 1, 1],
            block,
            shared: 0,
            maps: Vec::new(),
            pointers: self.pointers,
        })
    }
}
