//! What devices send each other: pieces of values without gaps, packed before and unpacked after where that is needed.
//!
//! What a device keeps of a value does not go through the link: it is copied to its place, or computed there.

use super::planner::Planner;
use super::routes::{Exchange, Routes, runs};
use super::{Launch, Owner};
use crate::backend::cuda::source::{Coding, StoredValue};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{AllGather, AllToAll, Divided, InferError, Op, Parts, Piece, Shard};
use reflux_ir::{Fact, ValueId};
use std::collections::HashSet;

/// More pieces of a value than this are no exchange, but a layout.
const MOST_PIECES: usize = 256;

impl Planner<'_> {
    /// The share of this device, of an op that is for several.
    pub(super) fn together(
        &mut self,
        id: ValueId,
        op: &Op,
        operand: ValueId,
    ) -> Result<StoredValue, Unsupported> {
        let (fact, reserved) = (self.graph[operand].fact.clone(), self.reserved.get(&id).cloned());
        let (reserved, reserved_scales) = match reserved {
            Some(StoredValue { data, coding }) => (Some(data), coding.map(|coding| coding.scales)),
            None => (None, None),
        };
        if let Op::AllToAll(op) = op
            && let Some(to) = self.exchange_scattered(id, op, operand, &fact)?
        {
            return Ok(to.into());
        }
        let StoredValue { data, coding } = self.stored(operand)?;
        let mut moved = |view: &View, reserved| match op {
            Op::Shard(op) => self.shard(id, op, view, &fact),
            Op::AllGather(op) => self.all_gather(id, op, view, &fact, reserved),
            Op::AllToAll(op) => self.all_to_all(id, op, view, &fact, reserved),
            _ => unreachable!("the op is for several devices"),
        };
        let data = moved(&data, reserved)?;
        // Codes have a scale for each row, and rows stay whole.
        let coding = match coding {
            Some(Coding { per, scales, .. }) => {
                Some(Coding { per, scales: moved(&scales, reserved_scales)?, zeros: None })
            }
            None => None,
        };
        Ok(StoredValue { data, coding })
    }

    fn shard(&mut self, id: ValueId, op: &Shard, x: &View, fact: &Fact) -> Result<View, Unsupported> {
        let (axis, parts) = op.divides(fact).map_err(unverified)?;
        let pieces = parts.pieces(self.gpu.rank);
        if let [piece] = &pieces[..]
            && piece.own.len() == parts.own()
        {
            return Ok(x.range(axis, &piece.whole));
        }
        let to = self.room(&with_extent(x, axis, parts.own()), x.dtype);
        self.zero_rest(id, &to, &parts, self.gpu.rank);
        for Piece { whole, own } in pieces {
            self.copy(id, &x.range(axis, &whole), to.range(axis, &own));
        }
        Ok(to)
    }

    fn all_gather(
        &mut self,
        id: ValueId,
        op: &AllGather,
        x: &View,
        fact: &Fact,
        reserved: Option<View>,
    ) -> Result<View, Unsupported> {
        let (axis, parts) = op.gathers(fact).map_err(unverified)?;
        let own = self.linked(id, x);
        let to = self.received(&with_extent(x, axis, parts.whole()), x, reserved.as_ref());
        let mut exchange = Exchange::default();
        for peer in self.peers(&parts) {
            for Piece { own: range, .. } in parts.pieces(self.gpu.rank) {
                exchange.sends.extend(runs(&own, axis, &range, peer));
            }
            for Piece { whole, .. } in parts.pieces(peer) {
                exchange.receives.extend(runs(&to, axis, &whole, peer));
            }
        }
        for Piece { whole, own: range } in parts.pieces(self.gpu.rank) {
            self.copy(id, &own.range(axis, &range), to.range(axis, &whole));
        }
        self.push_exchange(id, exchange)?;
        Ok(self.in_place(id, to, reserved))
    }

    fn all_to_all(
        &mut self,
        id: ValueId,
        op: &AllToAll,
        x: &View,
        fact: &Fact,
        reserved: Option<View>,
    ) -> Result<View, Unsupported> {
        let (concat, split) = op.exchanges(fact).map_err(unverified)?;
        if concat.0 > split.0 {
            return self.unpacked_all_to_all(id, x, &concat, &split, reserved);
        }
        let routes = self.routes(x, &concat, &split, reserved.as_ref());
        self.zero_routes(id, &routes);
        for place in routes.places(self.gpu.rank) {
            self.copy(id, &place.of(x), place.to);
        }
        self.push_exchange(id, routes.exchange(self.gpu.rank))?;
        Ok(self.in_place(id, routes.to, reserved))
    }

    /// The routes of [`AllToAll`] if the axis that is split lies inside of the other: what goes to each device is put together
    /// first, and received in place.
    pub(super) fn routes(
        &mut self,
        x: &View,
        concat: &Divided,
        split: &Divided,
        reserved: Option<&View>,
    ) -> Routes {
        let shape = with_extent(x, split.0, split.1.own());
        let mut whole = shape.clone();
        whole[concat.0] = concat.1.whole();
        let to = self.received(&whole, x, reserved);
        let packed = self.peers(&split.1).map(|peer| (peer, self.room(&shape, x.dtype))).collect();
        Routes { concat: concat.clone(), split: split.clone(), packed, to }
    }

    /// Fills what no device sends with zeros.
    pub(super) fn zero_routes(&mut self, id: ValueId, routes: &Routes) {
        let divide = &routes.split.1;
        for (peer, packed) in &routes.packed {
            self.zero_rest(id, packed, divide, *peer);
        }
        self.zero_rest(id, &routes.to, divide, self.gpu.rank);
    }

    /// The axis that is split lies outside of the other: what goes to each device is in one place, and distributed when it is there.
    fn unpacked_all_to_all(
        &mut self,
        id: ValueId,
        x: &View,
        (concat, gather): &Divided,
        (split, divide): &Divided,
        reserved: Option<View>,
    ) -> Result<View, Unsupported> {
        let (x, rank) = (self.linked(id, x), self.gpu.rank);
        let shape = with_extent(&x, *split, divide.own());
        let mut whole = shape.clone();
        whole[*concat] = gather.whole();
        let to = reserved.clone().filter(|_| is_full(divide, rank));
        let to = to.unwrap_or_else(|| self.room(&whole, x.dtype));
        self.zero_rest(id, &to, divide, rank);
        for Piece { whole, own } in divide.pieces(rank) {
            let from = x.range(*split, &whole);
            for kept in gather.pieces(rank) {
                let to = to.range(*split, &own).range(*concat, &kept.whole);
                self.copy(id, &from.range(*concat, &kept.own), to);
            }
        }
        let mut exchange = Exchange::default();
        let mut received = Vec::new();
        for peer in self.peers(divide) {
            let from = self.room(&shape, x.dtype);
            for Piece { whole, .. } in divide.pieces(peer) {
                exchange.sends.extend(runs(&x, *split, &whole, peer));
            }
            for Piece { own, .. } in divide.pieces(rank) {
                exchange.receives.extend(runs(&from, *split, &own, peer));
            }
            received.push((peer, from));
        }
        self.push_exchange(id, exchange)?;
        for (peer, from) in received {
            for Piece { whole, own } in gather.pieces(peer) {
                for Piece { own: rows, .. } in divide.pieces(rank) {
                    let to = to.range(*split, &rows).range(*concat, &whole);
                    self.copy(id, &from.range(*split, &rows).range(*concat, &own), to);
                }
            }
        }
        Ok(self.in_place(id, to, reserved))
    }

    /// The other devices, from the next one on, so that not all of them send to the same one first.
    fn peers(&self, parts: &Parts) -> impl Iterator<Item = usize> + use<> {
        let (rank, devices) = (self.gpu.rank, parts.devices);
        (1..devices).map(move |distance| (rank + distance) % devices)
    }

    /// Fills `share`, of device `device`, which has no gaps, with zeros, unless it will be full.
    fn zero_rest(&mut self, id: ValueId, share: &View, parts: &Parts, device: usize) {
        if !is_full(parts, device) {
            let value = self.graph[id].name.clone();
            let bytes = share.shape.iter().product::<usize>() * share.dtype.bytes();
            self.launches.push(Launch::Zero { value, at: Pointer::to(share), bytes });
        }
    }

    /// `x` without gaps, where other devices can reach it.
    fn linked(&mut self, id: ValueId, x: &View) -> View {
        if x.is_contiguous() && self.is_reached(x) { x.clone() } else { self.copied(id, x) }
    }

    /// Where a value of `shape`, like `x`, is received: where it is `reserved`, if that has no gaps and other devices can reach it.
    fn received(&mut self, shape: &[usize], x: &View, reserved: Option<&View>) -> View {
        let reserved = reserved.filter(|view| view.is_contiguous() && self.is_reached(view)).cloned();
        reserved.unwrap_or_else(|| self.room(shape, x.dtype))
    }

    /// Whether other devices can reach the memory of `view`: the engine's own, but not burn's.
    fn is_reached(&self, view: &View) -> bool {
        matches!(self.buffers[view.buffer].place, Owner::Arena(_))
    }

    /// Copies what was received to where it is `reserved`, if that is another place.
    fn in_place(&mut self, id: ValueId, received: View, reserved: Option<View>) -> View {
        match reserved {
            Some(to) if !to.is_same_place(&received) => {
                self.copy(id, &received, to.clone());
                to
            }
            _ => received,
        }
    }

    /// Adds `exchange`, together with the one before it if nothing in between touches what that receives: one of several values takes
    /// less than several of one.
    pub(super) fn push_exchange(&mut self, id: ValueId, exchange: Exchange) -> Result<(), Unsupported> {
        let pieces = exchange.sends.len().max(exchange.receives.len());
        if pieces > MOST_PIECES {
            return Err(Unsupported(format!("it is exchanged in {pieces} pieces, more than {MOST_PIECES}")));
        }
        let earlier = self.launches.iter().rposition(|launch| matches!(launch, Launch::Exchange { .. }));
        let joined = earlier.filter(|&at| self.can_wait(at)).map(|at| self.launches.remove(at));
        let exchange = match joined {
            Some(Launch::Exchange { exchange: Exchange { sends, receives }, .. }) => Exchange {
                sends: [sends, exchange.sends].concat(),
                receives: [receives, exchange.receives].concat(),
            },
            _ => exchange,
        };
        self.launches.push(Launch::Exchange { value: self.graph[id].name.clone(), exchange });
        Ok(())
    }

    /// Whether the exchange that is the launch `at` could as well come last.
    fn can_wait(&self, at: usize) -> bool {
        let Launch::Exchange { exchange, .. } = &self.launches[at] else { return false };
        let received: HashSet<usize> = exchange.receives.iter().map(|receive| receive.at.buffer).collect();
        let mut later = self.launches[at + 1..].iter().flat_map(Launch::buffers);
        !later.any(|buffer| received.contains(&buffer))
    }
}

/// Whether device `device` has as much as the others.
fn is_full(parts: &Parts, device: usize) -> bool {
    parts.pieces(device).iter().map(|piece| piece.own.len()).sum::<usize>() == parts.own()
}

pub(super) fn unverified(error: InferError) -> Unsupported {
    Unsupported(error.0)
}

/// The shape of `x` with another extent along `axis`.
fn with_extent(x: &View, axis: usize, extent: usize) -> Vec<usize> {
    let mut shape = x.shape.clone();
    shape[axis] = extent;
    shape
}
