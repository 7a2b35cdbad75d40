//! Plans: launches, and the memory that they use.

use super::ForeignOp;
use crate::backend::cuda::matmul::MatmulLaunch;
use crate::backend::cuda::source::Kernel;
use reflux_ir::{Fact, Name, ValueId};

/// Kernels to launch in order, and where what they read and write is.
pub struct LaunchPlan {
    pub buffers: Vec<Buffer>,
    pub launches: Vec<Launch>,
    /// Bytes of all buffers of results inside the graph.
    pub arena: usize,
    /// Weights `[out, in, height, width]` that are read as `[out, height, width, in]`, and so in memory.
    pub channels_last: Vec<ValueId>,
}

/// Memory that launches point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub place: Owner,
    pub bytes: usize,
}

/// Whose memory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The plan's own, at this byte of its arena.
    Arena(usize),
    /// That of an input, a weight, or what is known from the ops alone.
    Given { value: ValueId, piece: Piece },
    /// That of the graph's result of this number.
    Output(usize),
}

/// What a value is made of in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Its numbers, or its codes.
    Data,
    /// What codes are multiplied by.
    Scales,
    /// What is added to unsigned codes.
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
    /// One of several kernels that do the same with the same buffers; the first is the best guess.
    Kernel {
        value: Name,
        kernels: Vec<Kernel>,
    },
    Matmul {
        value: Name,
        matmul: MatmulLaunch,
    },
    /// An op that no kernel of ours computes.
    Foreign(ForeignOp),
}

impl Launch {
    /// The value that it makes, or a part of it.
    pub fn value(&self) -> &Name {
        match self {
            Self::Kernel { value, .. } | Self::Matmul { value, .. } => value,
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
            Self::Foreign(foreign) => foreign.pointers().map(|pointer| pointer.buffer).collect(),
        }
    }
}
