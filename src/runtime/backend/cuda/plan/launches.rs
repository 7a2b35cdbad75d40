//! Plans: launches, and the memory that they use.

use super::{Exchange, ForeignOp};
use crate::backend::cuda::matmul::MatmulLaunch;
use crate::backend::cuda::source::Kernel;
use crate::backend::cuda::view::Pointer;
use reflux_ir::{Fact, Name, ValueId};

/// Kernels to launch in order, and the buffers that they read and write.
pub struct LaunchPlan {
    pub buffers: Vec<Buffer>,
    pub launches: Vec<Launch>,
    /// Bytes of all buffers of results inside the graph.
    pub arena: usize,
}

/// Memory that launches point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub place: Owner,
    pub bytes: usize,
}

/// Where the memory of a buffer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The plan's arena, at this byte.
    Arena(usize),
    /// An input, a weight, or a value that depends on no input.
    Given { value: ValueId, piece: Piece },
    /// The graph's result with this index.
    Output(usize),
    /// Words that are zero whenever no kernel runs, for all kernels, which run one after the other.
    Signals,
}

/// How many words of [`Owner::Signals`] there are.
pub const SIGNALS: usize = 4096;

/// A part of a value in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Its numbers, or its codes.
    Data,
    /// The factors of codes.
    Scales,
    /// The zero points of unsigned codes.
    Zeros,
}

impl Piece {
    /// The pieces of a value of this type.
    pub fn of(fact: &Fact) -> &'static [Self] {
        match fact.scales {
            None => &[Self::Data],
            Some(_) if fact.dtype.has_zero_points() => &[Self::Data, Self::Scales, Self::Zeros],
            Some(_) => &[Self::Data, Self::Scales],
        }
    }
}

pub enum Launch {
    /// One of several kernels that compute the same with the same buffers; the first is the best guess.
    Kernel {
        value: Name,
        kernels: Vec<Kernel>,
    },
    Matmul {
        value: Name,
        matmul: MatmulLaunch,
    },
    /// What devices send each other.
    Exchange {
        value: Name,
        exchange: Exchange,
    },
    /// Zeros, for the value.
    Zero {
        value: Name,
        at: Pointer,
        bytes: usize,
    },
    /// An op that no kernel of the engine computes.
    Foreign(ForeignOp),
}

impl Launch {
    /// The value that it computes, or a part of it.
    pub fn value(&self) -> &Name {
        match self {
            Self::Kernel { value, .. }
            | Self::Matmul { value, .. }
            | Self::Exchange { value, .. }
            | Self::Zero { value, .. } => value,
            Self::Foreign(foreign) => &foreign.name,
        }
    }

    /// The buffers that it reads and writes.
    pub fn buffers(&self) -> Vec<usize> {
        match self {
            Self::Kernel { kernels, .. } => {
                let kernel = &kernels[0];
                let maps = kernel.maps.iter().map(|map| &map.pointer);
                maps.chain(&kernel.pointers).map(|pointer| pointer.buffer).collect()
            }
            Self::Matmul { matmul, .. } => {
                let pointers = [matmul.x, matmul.weight, matmul.y].into_iter().chain(matmul.bias);
                pointers.map(|pointer| pointer.buffer).collect()
            }
            Self::Exchange { exchange: Exchange { sends, receives }, .. } => {
                sends.iter().chain(receives).map(|transfer| transfer.at.buffer).collect()
            }
            Self::Zero { at, .. } => vec![at.buffer],
            Self::Foreign(foreign) => foreign.pointers().map(|pointer| pointer.buffer).collect(),
        }
    }
}
