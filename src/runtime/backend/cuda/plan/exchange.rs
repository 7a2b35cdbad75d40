//! What devices send each other: pieces of values without gaps, packed before and unpacked after where that is needed.

use super::Launch;
use super::planner::Planner;
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{AllGather, AllToAll, Divided, Parts, Shard};
use reflux_ir::{Fact, ValueId};

/// Transfers that all devices run together. Of the pieces between two devices, the first that one sends is the first that the other
/// receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    pub sends: Vec<Transfer>,
    pub receives: Vec<Transfer>,
}

/// Contiguous memory to or from another device, or this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub peer: usize,
    pub at: Pointer,
    pub bytes: usize,
}

/// More pieces of a value than this are no exchange, but a layout.
const MOST_PIECES: usize = 256;

impl Planner<'_> {
    pub(super) fn shard(
        &mut self,
        id: ValueId,
        op: &Shard,
        operand: ValueId,
        fact: &Fact,
    ) -> Result<View, Unsupported> {
        let (axis, parts) = op.divides(&self.graph[operand].fact).map_err(unverified)?;
        let (x, pieces) = (self.data(operand)?, parts.pieces(self.gpu.rank));
        if let [piece] = &pieces[..]
            && piece.own.len() == parts.own()
        {
            return Ok(x.slice(axis, piece.whole.start, piece.whole.end));
        }
        let to = self.room(&fact.shape, fact.dtype);
        self.zero_rest(id, &to, &parts, self.gpu.rank);
        for piece in pieces {
            let (from, to) = (
                x.slice(axis, piece.whole.start, piece.whole.end),
                to.slice(axis, piece.own.start, piece.own.end),
            );
            self.copy(id, &from, to);
        }
        Ok(to)
    }

    pub(super) fn all_gather(
        &mut self,
        id: ValueId,
        op: &AllGather,
        operand: ValueId,
        fact: &Fact,
    ) -> Result<View, Unsupported> {
        let (axis, parts) = op.gathers(&self.graph[operand].fact).map_err(unverified)?;
        let own = self.whole(id, operand)?;
        let to = self.received(id, fact);
        let mut exchange = Exchange::default();
        for peer in 0..parts.devices {
            for piece in parts.pieces(self.gpu.rank) {
                exchange.sends.extend(runs(&own, axis, piece.own.start, piece.own.len(), peer));
            }
            for piece in parts.pieces(peer) {
                exchange.receives.extend(runs(&to, axis, piece.whole.start, piece.whole.len(), peer));
            }
        }
        self.push_exchange(id, exchange)?;
        Ok(self.in_place(id, to))
    }

    pub(super) fn all_to_all(
        &mut self,
        id: ValueId,
        op: &AllToAll,
        operand: ValueId,
        fact: &Fact,
    ) -> Result<View, Unsupported> {
        let (concat, split) = op.exchanges(&self.graph[operand].fact).map_err(unverified)?;
        match concat.0 < split.0 {
            true => self.packed_all_to_all(id, operand, &concat, &split, fact),
            false => self.unpacked_all_to_all(id, operand, &concat, &split, fact),
        }
    }

    /// The axis that is split lies inside of the other: what goes to each device is put together first, and received in place.
    fn packed_all_to_all(
        &mut self,
        id: ValueId,
        operand: ValueId,
        (concat, gather): &Divided,
        (split, divide): &Divided,
        fact: &Fact,
    ) -> Result<View, Unsupported> {
        let x = self.data(operand)?;
        let packed = self.by_device(id, &x, *split, divide);
        self.copy_by_device(id, (&x, *split), &packed, divide, true);
        let to = self.received(id, fact);
        let mut exchange = Exchange::default();
        for peer in 0..gather.devices {
            for piece in gather.pieces(self.gpu.rank) {
                exchange.sends.extend(runs(
                    &of_device(&packed, peer),
                    *concat,
                    piece.own.start,
                    piece.own.len(),
                    peer,
                ));
            }
            for piece in gather.pieces(peer) {
                exchange.receives.extend(runs(&to, *concat, piece.whole.start, piece.whole.len(), peer));
            }
        }
        self.push_exchange(id, exchange)?;
        Ok(self.in_place(id, to))
    }

    /// The axis that is split lies outside of the other: what goes to each device is in one place, and distributed when it is there.
    fn unpacked_all_to_all(
        &mut self,
        id: ValueId,
        operand: ValueId,
        (concat, gather): &Divided,
        (split, divide): &Divided,
        fact: &Fact,
    ) -> Result<View, Unsupported> {
        let x = self.whole(id, operand)?;
        let mut shape = x.shape.clone();
        shape[*split] = divide.own();
        let received = self.room(&[&[divide.devices], &shape[..]].concat(), x.dtype);
        self.zero_rest(id, &received, divide, self.gpu.rank);
        let mut exchange = Exchange::default();
        for peer in 0..divide.devices {
            for piece in divide.pieces(peer) {
                exchange.sends.extend(runs(&x, *split, piece.whole.start, piece.whole.len(), peer));
            }
            for piece in divide.pieces(self.gpu.rank) {
                let from = of_device(&received, peer);
                exchange.receives.extend(runs(&from, *split, piece.own.start, piece.own.len(), peer));
            }
        }
        self.push_exchange(id, exchange)?;
        let to = self.target(id, fact).data;
        self.copy_by_device(id, (&to, *concat), &received, gather, false);
        Ok(to)
    }

    /// Room for the shares of `x` along `axis` that each device has, one after the other.
    fn by_device(&mut self, id: ValueId, x: &View, axis: usize, parts: &Parts) -> View {
        let mut shape = x.shape.clone();
        shape[axis] = parts.own();
        let room = self.room(&[&[parts.devices], &shape[..]].concat(), x.dtype);
        for device in 0..parts.devices {
            self.zero_rest(id, &of_device(&room, device), parts, device);
        }
        room
    }

    /// Copies between `whole`, along its axis, and the shares of all devices: to these, or from them.
    fn copy_by_device(
        &mut self,
        id: ValueId,
        (whole, axis): (&View, usize),
        shares: &View,
        parts: &Parts,
        packs: bool,
    ) {
        // Equal shares of one part are an axis of their own.
        let (devices, own) = (parts.devices, parts.own());
        let mut shape = whole.shape.clone();
        shape.splice(axis..=axis, [devices, own]);
        if parts.extents.len() == 1
            && own * devices == parts.whole()
            && let Some(divided) = whole.reshape(&shape)
        {
            let mut order: Vec<usize> = (0..shape.len()).collect();
            order[..=axis].rotate_right(1);
            let by_device = divided.permuted(&order);
            return if packs {
                self.copy(id, &by_device, shares.clone())
            } else {
                self.copy(id, shares, by_device)
            };
        }
        for device in 0..devices {
            for piece in parts.pieces(device) {
                let whole = whole.slice(axis, piece.whole.start, piece.whole.end);
                let share = of_device(shares, device).slice(axis, piece.own.start, piece.own.end);
                if packs { self.copy(id, &whole, share) } else { self.copy(id, &share, whole) }
            }
        }
    }

    /// Fills `share`, of device `device`, with zeros, if it is not full.
    fn zero_rest(&mut self, id: ValueId, share: &View, parts: &Parts, device: usize) {
        let full: usize = parts.pieces(device).iter().map(|piece| piece.own.len()).sum();
        if full < parts.own() {
            let bytes = share.shape.iter().product::<usize>() * share.dtype.bytes();
            let value = self.graph[id].name.clone();
            self.launches.push(Launch::Zero { value, at: Pointer::to(share), bytes });
        }
    }

    /// The value, without gaps.
    fn whole(&mut self, id: ValueId, operand: ValueId) -> Result<View, Unsupported> {
        let x = self.data(operand)?;
        Ok(if x.is_contiguous() { x } else { self.copied(id, &x) })
    }

    /// Where `id` is received: in its own place, if that has no gaps.
    fn received(&mut self, id: ValueId, fact: &Fact) -> View {
        let reserved = self.reserved.get(&id).map(|made| made.data.clone()).filter(View::is_contiguous);
        reserved.unwrap_or_else(|| self.room(&fact.shape, fact.dtype))
    }

    /// Copies what was received to its own place, if that is another.
    fn in_place(&mut self, id: ValueId, received: View) -> View {
        match self.reserved.get(&id).map(|made| made.data.clone()) {
            Some(to) if !to.is_same_place(&received) => {
                self.copy(id, &received, to.clone());
                to
            }
            _ => received,
        }
    }

    fn push_exchange(&mut self, id: ValueId, exchange: Exchange) -> Result<(), Unsupported> {
        let pieces = exchange.sends.len().max(exchange.receives.len());
        if pieces > MOST_PIECES {
            return Err(Unsupported(format!("it is exchanged in {pieces} pieces, more than {MOST_PIECES}")));
        }
        self.launches.push(Launch::Exchange { value: self.graph[id].name.clone(), exchange });
        Ok(())
    }
}

fn unverified(error: reflux_ir::op::InferError) -> Unsupported {
    Unsupported(error.0)
}

/// What `shares`, of all devices, has of `device`.
fn of_device(shares: &View, device: usize) -> View {
    let offset = shares.offset + device * shares.strides[0];
    View {
        offset,
        shape: shares.shape[1..].to_vec(),
        strides: shares.strides[1..].to_vec(),
        ..shares.clone()
    }
}

/// The memory of `length` along `axis` of `view`, which has no gaps, from `start` on: to or from `peer`.
fn runs(view: &View, axis: usize, start: usize, length: usize, peer: usize) -> Vec<Transfer> {
    let inner: usize = view.shape[axis + 1..].iter().product();
    let outer: usize = view.shape[..axis].iter().product();
    let bytes = |elements: usize| elements * view.dtype.bytes();
    let run = |row: usize| {
        let first = view.offset + (row * view.shape[axis] + start) * inner;
        Transfer {
            peer,
            at: Pointer { buffer: view.buffer, offset: bytes(first) },
            bytes: bytes(length * inner),
        }
    };
    (0..outer).map(run).collect()
}
