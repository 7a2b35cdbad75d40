//! Placement of values directly in a result of the graph, or in their part of a concatenation.

use super::Owner;
use super::planner::{Moved, Planner};
use super::single::is_formula;
use crate::backend::cuda::source::StoredValue;
use crate::backend::cuda::view::View;
use reflux_ir::ValueId;
use reflux_ir::op::{Op, Slice, axis_index};
use std::ops::Range;

impl Planner<'_> {
    /// Reserves the memory of the graph's results for the values that go there.
    pub(super) fn reserve_outputs(&mut self) {
        for (index, output) in self.graph.outputs().iter().enumerate() {
            let fact = &self.graph[output.value].fact;
            let buffer = self.buffer(Owner::Output(index), fact.bytes() as usize);
            let (made, view) = self.maker(output.value, View::whole(buffer, &fact.shape, fact.dtype));
            let is_made = is_kernel(&self.graph[made].op) || matches!(self.graph[made].op, Op::Concat(_));
            if is_made && !self.reserved.contains_key(&made) {
                self.reserved.insert(made, view.into());
            }
        }
        // Parts of a concatenation are computed in place.
        for id in self.graph.order().into_iter().rev() {
            self.reserve_exchange(id);
            self.reserve_parts(id);
        }
    }

    fn reserve_parts(&mut self, id: ValueId) {
        let Op::Concat(concat) = &self.graph[id].op else { return };
        if self.exchanged_in_parts.contains(&id) {
            return;
        }
        let fact = self.graph[id].fact.clone();
        let axis = axis_index(concat.axis, fact.shape.len());
        let whole = self.target(id, &fact);
        self.reserved.insert(id, whole.clone());
        let mut start = 0;
        for operand in self.graph.operands(id) {
            let end = start + self.graph[operand].fact.shape[axis];
            let part = whole.slice(axis, start, end);
            start = end;
            // The concatenation is its only reader.
            let StoredValue { data, coding } = part;
            let (made, view) = self.maker(operand, data);
            let is_alone = self.is_alone(made);
            if is_kernel(&self.graph[made].op) && is_alone && !self.reserved.contains_key(&made) {
                self.reserved.insert(made, StoredValue { data: view, coding });
            } else if is_alone {
                self.reserve_columns(made, view);
            }
        }
    }

    /// Whether nothing but one op reads `value`.
    pub(super) fn is_alone(&self, value: ValueId) -> bool {
        self.graph.users(value).count() == 1 && !self.graph.is_result(value)
    }

    /// Reserves `to` for the columns of a product that `slice` takes, if nothing else reads them and their epilogue is
    /// separate from that of the others.
    fn reserve_columns(&mut self, slice: ValueId, to: View) {
        let Some((gemm, columns)) = self.columns(slice) else { return };
        let Op::Gemm(op) = &self.graph[gemm].op else { return };
        let mut others = self.graph.users(gemm).filter(|&user| user != slice);
        let is_apart = |user: ValueId| {
            let own = self.columns(user).map(|(_, own)| own);
            own.is_some_and(|own| own.end <= columns.start || columns.end <= own.start)
        };
        let is_result = self.graph.outputs().iter().any(|output| output.value == gemm);
        let mut segments = op
            .segments
            .iter()
            .zip(op.starts())
            .map(|(segment, start)| (start..start + segment.columns, segment));
        let is_whole = segments.any(|(range, segment)| {
            let is_inside = range.start <= columns.start && columns.end <= range.end;
            range == columns || is_inside && segment.body.operands().is_empty()
        });
        if is_result || !is_whole || !others.all(is_apart) {
            return;
        }
        let moved = self.moved.entry(gemm).or_default();
        moved.push(Moved { slice, columns, to });
        moved.sort_by_key(|moved| moved.columns.start);
    }

    /// The product that `slice` takes columns of, and which.
    fn columns(&self, slice: ValueId) -> Option<(ValueId, Range<usize>)> {
        let Op::Slice(Slice { axis, start, end }) = self.graph[slice].op else { return None };
        let gemm = self.graph.operands(slice)[0];
        let rank = self.graph[gemm].fact.shape.len();
        (axis_index(axis, rank) + 1 == rank).then_some((gemm, start..end))
    }

    /// The value of which `id` is a view, through reshapes that nothing else reads, and the view of it that corresponds to
    /// `view` of `id`.
    fn maker(&self, id: ValueId, view: View) -> (ValueId, View) {
        let (mut made, mut view) = (id, view);
        while let Op::Reshape(_) = self.graph[made].op {
            let inner = self.graph.operands(made)[0];
            let is_alone = made == id || self.graph.users(made).count() == 1;
            match view.reshape(&self.graph[inner].fact.shape).filter(|_| is_alone) {
                Some(reshaped) => (made, view) = (inner, reshaped),
                None => break,
            }
        }
        (made, view)
    }
}

/// Whether a kernel of the engine can compute the value into any memory.
fn is_kernel(op: &Op) -> bool {
    op.is_fused()
        || is_formula(op)
        || matches!(
            op,
            Op::Linear(_)
                | Op::Rescale(_)
                | Op::Attention(_)
                | Op::Select(_)
                | Op::AllGather(_)
                | Op::AllToAll(_)
        )
}
