//! The ways of values between devices: transfers, and the places that they lead from and to.

use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{Divided, Piece};
use std::ops::Range;

/// Transfers that all devices run together. Of the pieces between two devices, the first that one sends is the first that the other
/// receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    pub sends: Vec<Transfer>,
    pub receives: Vec<Transfer>,
}

/// Contiguous memory to or from another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub peer: usize,
    pub at: Pointer,
    pub bytes: usize,
}

/// Where the pieces of a share go that is divided along another axis.
#[derive(Clone, Debug)]
pub struct Routes {
    pub concat: Divided,
    pub split: Divided,
    /// What goes to each of the others, which is packed there.
    pub packed: Vec<(usize, View)>,
    /// What this device has afterwards.
    pub to: View,
}

/// A block of a value, and where it belongs.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Of the value, by axis.
    pub ranges: Vec<(usize, Range<usize>)>,
    pub to: View,
}

impl Placed {
    /// This block of `x`.
    pub fn of(&self, x: &View) -> View {
        self.ranges.iter().fold(x.clone(), |x, (axis, range)| x.range(*axis, range))
    }
}

impl Routes {
    /// All blocks of the share of device `rank`, and where each is to be before the exchange.
    pub fn places(&self, rank: usize) -> Vec<Placed> {
        let ((concat, gather), (split, divide)) = (&self.concat, &self.split);
        let mut places = Vec::new();
        for (peer, packed) in &self.packed {
            for Piece { whole, own } in divide.pieces(*peer) {
                places.push(Placed { ranges: vec![(*split, whole)], to: packed.range(*split, &own) });
            }
        }
        for kept in divide.pieces(rank) {
            for Piece { whole, own } in gather.pieces(rank) {
                let to = self.to.range(*concat, &whole).range(*split, &kept.own);
                places.push(Placed { ranges: vec![(*concat, own), (*split, kept.whole.clone())], to });
            }
        }
        places
    }

    /// What is then sent and received.
    pub fn exchange(&self, rank: usize) -> Exchange {
        let (concat, gather) = &self.concat;
        let mut exchange = Exchange::default();
        for (peer, packed) in &self.packed {
            for Piece { own, .. } in gather.pieces(rank) {
                exchange.sends.extend(runs(packed, *concat, &own, *peer));
            }
            for Piece { whole, .. } in gather.pieces(*peer) {
                exchange.receives.extend(runs(&self.to, *concat, &whole, *peer));
            }
        }
        exchange
    }
}

/// The memory of `range` along `axis` of `view`, which has no gaps: to or from `peer`.
pub fn runs(view: &View, axis: usize, range: &Range<usize>, peer: usize) -> Vec<Transfer> {
    let inner: usize = view.shape[axis + 1..].iter().product();
    let outer: usize = view.shape[..axis].iter().product();
    let bytes = |elements: usize| elements * view.dtype.bytes();
    let run = |row: usize| {
        let first = view.offset + (row * view.shape[axis] + range.start) * inner;
        let at = Pointer { buffer: view.buffer, offset: bytes(first) };
        Transfer { peer, at, bytes: bytes(range.len() * inner) }
    };
    (0..outer).map(run).collect()
}
