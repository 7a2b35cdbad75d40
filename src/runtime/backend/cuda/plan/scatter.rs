//! Values that are computed where the exchange after them reads them: piece by piece, each in its place.
//!
//! Copies before an exchange would take a third of what the exchange takes.

use super::exchange::unverified;
use super::planner::Planner;
use super::routes::Placed;
use crate::backend::cuda::source::{self, StoredValue};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::View;
use reflux_ir::op::{AllToAll, Arg, Body, Concat, Op, Rowwise, axis_index};
use reflux_ir::{Fact, ValueId};
use std::ops::Range;

/// A value that goes to an exchange, or a part of it along the axis that is gathered.
#[derive(Clone, Debug)]
struct Source {
    value: ValueId,
    /// Of the exchanged value.
    range: Range<usize>,
}

impl Planner<'_> {
    /// Decides where the pieces of what the exchange `id` reads are computed, if kernels can compute them there.
    pub(super) fn reserve_exchange(&mut self, id: ValueId) {
        let Op::AllToAll(op) = &self.graph[id].op else { return };
        let operand = self.graph.operands(id)[0];
        let fact = &self.graph[operand].fact;
        let Ok((concat, split)) = op.exchanges(fact) else { return };
        let sources = self.sources(operand, concat.0);
        if fact.is_quantized()
            || concat.0 > split.0
            || !sources.iter().any(|source| self.is_scattered(source.value))
        {
            return;
        }
        // Only its shape and type matter here.
        let x = View::whole(0, &fact.shape, fact.dtype);
        let reserved = self.reserved.get(&id).map(|stored| stored.data.clone());
        let routes = self.routes(&x, &concat, &split, reserved.as_ref());
        let places = routes.places(self.gpu.rank);
        if sources.len() > 1 {
            self.exchanged_in_parts.insert(operand);
        }
        for Source { value, range } in sources {
            if self.is_scattered(value) {
                self.scattered.insert(value, within(&places, concat.0, &range));
            }
        }
        self.routes.insert(id, routes);
    }

    /// What `value`, which only an exchange reads, consists of along `axis`.
    fn sources(&self, value: ValueId, axis: usize) -> Vec<Source> {
        let extent = |value: ValueId| self.graph[value].fact.shape[axis];
        let parts = match &self.graph[value].op {
            Op::Concat(Concat { axis: own })
                if axis_index(*own, self.graph[value].fact.shape.len()) == axis && self.is_alone(value) =>
            {
                self.graph.operands(value)
            }
            _ => vec![value],
        };
        let mut start = 0;
        let source = |value: ValueId| {
            let range = start..start + extent(value);
            start = range.end;
            Source { value, range }
        };
        parts.into_iter().map(source).collect()
    }

    /// Whether a kernel can compute any block of `value` wherever it belongs.
    fn is_scattered(&self, value: ValueId) -> bool {
        matches!(self.graph[value].op, Op::Rowwise(_)) && self.is_alone(value)
    }

    /// Computes `id` block by block.
    pub(super) fn scattered_formula(
        &mut self,
        id: ValueId,
        Rowwise { body, .. }: &Rowwise,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<(), Unsupported> {
        let operands = operands.iter().map(|&id| self.stored(id)).collect::<Result<Vec<_>, _>>()?;
        let kernels = self.scattered[&id].iter().map(|place| {
            let part = |(index, operand): (usize, &StoredValue)| block(body, index, operand, place, fact);
            let operands: Vec<StoredValue> = operands.iter().enumerate().map(part).collect();
            source::rowwise(body, &operands, None, &place.to.clone().into())
        });
        let kernels = kernels.collect::<Result<Vec<_>, _>>()?;
        kernels.into_iter().for_each(|kernel| self.push(id, kernel));
        self.in_places.insert(id);
        Ok(())
    }

    /// The exchange `id` of what was computed where it is read; what was not is copied there. `None` if it has no such places.
    pub(super) fn exchange_scattered(
        &mut self,
        id: ValueId,
        op: &AllToAll,
        operand: ValueId,
        fact: &Fact,
    ) -> Result<Option<View>, Unsupported> {
        let Some(routes) = self.routes.get(&id).cloned() else { return Ok(None) };
        let axis = op.exchanges(fact).map_err(unverified)?.0.0;
        self.zero_routes(id, &routes);
        let places = routes.places(self.gpu.rank);
        for Source { value, range } in self.sources(operand, axis) {
            if self.in_places.contains(&value) {
                continue;
            }
            let x = self.data(value)?;
            for place in within(&places, axis, &range) {
                self.copy(id, &place.of(&x), place.to);
            }
        }
        self.push_exchange(id, routes.exchange(self.gpu.rank))?;
        Ok(Some(routes.to))
    }
}

/// The blocks of `places` that lie in `range` along `axis`, counted from its start.
fn within(places: &[Placed], axis: usize, range: &Range<usize>) -> Vec<Placed> {
    let cut = |place: &Placed| {
        let mut place = place.clone();
        let known = place.ranges.iter().position(|(own, _)| *own == axis);
        let own = known.map_or(range.clone(), |at| place.ranges[at].1.clone());
        let (start, end) = (own.start.max(range.start), own.end.min(range.end));
        // A block along the whole axis begins where the value begins.
        let first = if known.is_some() { own.start } else { 0 };
        if start >= end {
            return None;
        }
        place.to = place.to.range(axis, &(start - first..end - first));
        let inside = (axis, start - range.start..end - range.start);
        match known {
            Some(at) => place.ranges[at] = inside,
            None => place.ranges.push(inside),
        }
        Some(place)
    };
    places.iter().filter_map(cut).collect()
}

/// What the block `place` of a formula's result is computed from, of the operand with this index. `fact` is the type of the result.
fn block(body: &Body, index: usize, operand: &StoredValue, place: &Placed, fact: &Fact) -> StoredValue {
    /// The axis of tokens, of what is rotated and of the table.
    const TOKENS: usize = 1;
    let is_table = |term: &reflux_ir::op::Term| {
        matches!(term.op, Op::Rope(_)) && term.args.get(1) == Some(&Arg::Operand(index))
    };
    let is_table = body.terms().iter().any(is_table);
    let cut = |view: &View| {
        place.ranges.iter().fold(view.clone(), |view, (axis, range)| {
            let own = (axis + view.shape.len()).checked_sub(fact.shape.len());
            match own {
                _ if is_table => {
                    if *axis == TOKENS {
                        view.range(TOKENS, range)
                    } else {
                        view
                    }
                }
                Some(own) if view.shape[own] == fact.shape[*axis] => view.range(own, range),
                _ => view,
            }
        })
    };
    StoredValue { data: cut(&operand.data), coding: operand.coding.clone() }
}
