//! How an axis is divided among devices.

use super::{InferError, ensure};
use std::ops::Range;

/// A whole axis, divided among devices part by part: each of them has an equal share of every part, one share after the other. A
/// share at the end may be shorter, and what it lacks is filled up with zeros, so that all devices have as much.
///
/// The tokens of FLUX's single blocks are two parts, those of the text and those of the picture: `[512, 4096]`. On four devices,
/// each has 128 of the former and then 1024 of the latter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub devices: usize,
    /// The extents of the parts, in order.
    pub extents: Vec<usize>,
}

/// A range of a whole axis that a device has, and where among its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub whole: Range<usize>,
    pub own: Range<usize>,
}

impl Parts {
    /// More devices than any machine has.
    pub const MOST_DEVICES: usize = 64;

    /// The parts `extents` of an axis of `whole`, or the axis as one part, if none are given.
    pub(super) fn new(devices: usize, extents: &[usize], whole: usize) -> Result<Self, InferError> {
        let most = Self::MOST_DEVICES;
        ensure!((2..=most).contains(&devices), "values are divided among 2 to {most} devices, not {devices}");
        let total = extents.iter().copied().fold(0, usize::saturating_add);
        ensure!(!extents.contains(&0), "a part of nothing cannot be divided; leave it out of {extents:?}");
        ensure!(
            extents.is_empty() || total == whole,
            "the parts {extents:?} do not make up the {whole} of the axis"
        );
        let extents = if extents.is_empty() { vec![whole] } else { extents.to_vec() };
        Ok(Self { devices, extents })
    }

    /// How `extents` are written of an axis that is `whole`: not at all, if it is one part.
    pub(super) fn written(extents: &[usize], whole: usize) -> Vec<usize> {
        if *extents == [whole] { Vec::new() } else { extents.to_vec() }
    }

    /// The extent of the whole axis.
    pub fn whole(&self) -> usize {
        self.extents.iter().copied().fold(0, usize::saturating_add)
    }

    /// How many a device has.
    pub fn own(&self) -> usize {
        self.extents.iter().map(|extent| extent.div_ceil(self.devices)).fold(0, usize::saturating_add)
    }

    /// What device `device` has of the whole, in order.
    pub fn pieces(&self, device: usize) -> Vec<Piece> {
        let (mut start, mut own) = (0, 0);
        let pieces = self.extents.iter().map(|&extent| {
            let share = extent.div_ceil(self.devices);
            let range = (device * share).min(extent)..((device + 1) * share).min(extent);
            let piece = Piece { own: own..own + range.len(), whole: start + range.start..start + range.end };
            (start, own) = (start + extent, own + share);
            piece
        });
        pieces.filter(|piece| !piece.whole.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_an_equal_share_of_each_part() {
        let parts = Parts { devices: 2, extents: vec![4, 6] };
        assert_eq!((parts.whole(), parts.own()), (10, 5));
        let pieces = |device| parts.pieces(device).into_iter().map(|piece| (piece.whole, piece.own));
        assert!(pieces(0).eq([(0..2, 0..2), (4..7, 2..5)]));
        assert!(pieces(1).eq([(2..4, 0..2), (7..10, 2..5)]));
    }

    #[test]
    fn what_cannot_be_divided_equally_is_missing_at_the_end() {
        let parts = Parts { devices: 4, extents: vec![5, 1] };
        assert_eq!(parts.own(), 3);
        let ends = |piece: Piece| (piece.whole.start, piece.whole.end);
        let whole = |device| parts.pieces(device).into_iter().map(ends).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3].map(whole), [vec![(0, 2), (5, 6)], vec![(2, 4)], vec![(4, 5)], vec![]]);
    }
}
