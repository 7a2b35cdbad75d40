//! What ranks do together, on tensors of the host: the reference.

use super::Rank;
use crate::RunError;
use reflux_ir::op::{Op, Parts};
use reflux_ir::{Fact, HostTensor};
use std::ops::Range;

impl Rank {
    /// Runs `op`, which is for several devices, on this rank's `x`, together with the others.
    ///
    /// # Errors
    /// If another rank has failed.
    pub fn run(&self, op: &Op, x: HostTensor) -> Result<HostTensor, RunError> {
        let fact = Fact::new(x.dtype, x.shape.clone());
        let verified = "verified";
        match op {
            Op::Shard(shard) => {
                let (axis, parts) = shard.divides(&fact).expect(verified);
                Ok(share(&x, axis, &parts, self.index))
            }
            Op::AllGather(gather) => {
                let (axis, parts) = gather.gathers(&fact).expect(verified);
                Ok(gathered(&self.meeting.exchange(self.index, x)?, axis, &parts))
            }
            Op::AllToAll(exchange) => {
                let ((concat, gather), (split, divide)) = exchange.exchanges(&fact).expect(verified);
                let all = self.meeting.exchange(self.index, x)?;
                let own: Vec<_> = all.iter().map(|x| share(x, split, &divide, self.index)).collect();
                Ok(gathered(&own, concat, &gather))
            }
            _ => unreachable!("other ops are of one device"),
        }
    }
}

/// The share of `x` along `axis` that `rank` has; zeros where that ends earlier.
fn share(x: &HostTensor, axis: usize, parts: &Parts, rank: usize) -> HostTensor {
    let mut made = zeros(x, axis, parts.own());
    for piece in parts.pieces(rank) {
        copy(x, piece.whole, &mut made, piece.own.start, axis);
    }
    made
}

/// What `shares`, by rank, are the shares of along `axis`.
fn gathered(shares: &[HostTensor], axis: usize, parts: &Parts) -> HostTensor {
    let mut made = zeros(&shares[0], axis, parts.whole());
    for (rank, share) in shares.iter().enumerate() {
        for piece in parts.pieces(rank) {
            copy(share, piece.own, &mut made, piece.whole.start, axis);
        }
    }
    made
}

/// Zeros of the type of `x`, with another extent along `axis`.
fn zeros(x: &HostTensor, axis: usize, extent: usize) -> HostTensor {
    let mut shape = x.shape.clone();
    shape[axis] = extent;
    let bytes = x.dtype.bytes() * shape.iter().product::<usize>();
    HostTensor::new(x.dtype, shape, vec![0; bytes])
}

/// Copies what `from` has in `range` along `axis` to `to`, from `start` on.
fn copy(from: &HostTensor, range: Range<usize>, to: &mut HostTensor, start: usize, axis: usize) {
    let inner = from.dtype.bytes() * from.shape[axis + 1..].iter().product::<usize>();
    let outer: usize = from.shape[..axis].iter().product();
    let (own, other) = (inner * from.shape[axis], inner * to.shape[axis]);
    let length = inner * range.len();
    for row in 0..outer {
        let (read, written) = (row * own + inner * range.start, row * other + inner * start);
        to.bytes[written..written + length].copy_from_slice(&from.bytes[read..read + length]);
    }
}
