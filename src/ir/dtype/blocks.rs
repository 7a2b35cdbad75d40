//! GGML's block formats: neighbours along a row share a block of bytes, which holds their codes and scales together.
//!
//! A weight in such a format needs exactly the bytes that its GGUF file has, and is dequantized where it is read. Layouts and
//! formulas are those of ggml's `ggml-quants.c` and of the PyPI package `gguf` (`gguf/quants.py`), with which all numbers agree bit
//! for bit.

mod decode;
mod random;

use super::codec::{Codec, Kind, Role};
use half::f16;

/// Declares the formats and their table from one list of entries.
macro_rules! block_formats {
    ($($(#[$doc:meta])* $format:ident = $name:literal, $id:literal, [$elements:literal; $bytes:literal], $halves:expr, $decode:path;)*) => {
        /// A block format of GGML.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum BlockFormat {
            $($(#[$doc])* $format,)*
        }

        impl BlockFormat {
            /// Every format, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$format),*];

            /// Its entry in the table of element types.
            pub const fn codec(self) -> &'static Codec {
                match self {
                    $(Self::$format => const { &Codec {
                        name: $name,
                        file_name: None,
                        elements: $elements,
                        bytes: $bytes,
                        kind: Kind::Float,
                        role: Role::Block,
                        least: f64::NEG_INFINITY,
                        greatest: f64::INFINITY,
                        encode: |_, _| unreachable!("nothing is quantized to a block format"),
                        decode: $decode,
                    } },)*
                }
            }

            /// The number by which GGUF files name it.
            pub const fn id(self) -> u32 {
                match self {
                    $(Self::$format => $id,)*
                }
            }

            /// Where in a block its scales of type f16 are, in bytes.
            pub const fn halves(self) -> &'static [usize] {
                match self {
                    $(Self::$format => &$halves,)*
                }
            }
        }
    };
}

block_formats! {
    /// 4 bits, `(code − 8) · d`.
    Q4_0 = "q4_0", 2, [32; 18], [0], decode::q4_0;
    /// 4 bits, `code · d + m`.
    Q4_1 = "q4_1", 3, [32; 20], [0, 2], decode::q4_1;
    /// 5 bits, `(code − 16) · d`.
    Q5_0 = "q5_0", 6, [32; 22], [0], decode::q5_0;
    /// 5 bits, `code · d + m`.
    Q5_1 = "q5_1", 7, [32; 24], [0, 2], decode::q5_1;
    /// 8 bits, `code · d`.
    Q8_0 = "q8_0", 8, [32; 34], [0], decode::q8_0;
    /// 2 bits; for each 16 a scale and a minimum of 4 bits.
    Q2K = "q2_k", 10, [256; 84], [80, 82], decode::q2_k;
    /// 3 bits; for each 16 a scale of 6 bits.
    Q3K = "q3_k", 11, [256; 110], [108], decode::q3_k;
    /// 4 bits; for each 32 a scale and a minimum of 6 bits.
    Q4K = "q4_k", 12, [256; 144], [0, 2], decode::q4_k;
    /// 5 bits; for each 32 a scale and a minimum of 6 bits.
    Q5K = "q5_k", 13, [256; 176], [0, 2], decode::q5_k;
    /// 6 bits; for each 16 a scale of 8 bits.
    Q6K = "q6_k", 14, [256; 210], [208], decode::q6_k;
}

impl BlockFormat {
    /// The format that GGUF files name by `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.id() == id)
    }

    /// How many neighbours along a row share a block.
    pub const fn elements(self) -> usize {
        self.codec().elements
    }

    /// The size of a block.
    pub const fn bytes(self) -> usize {
        self.codec().bytes
    }

    /// The first block, counted from 0, with a scale that is not a number; there is none in a sound file.
    pub fn unsound(self, blocks: &[u8]) -> Option<usize> {
        blocks.chunks_exact(self.bytes()).position(|block| {
            let scale = |&at: &usize| f16::from_le_bytes([block[at], block[at + 1]]);
            self.halves().iter().map(scale).any(|scale| !scale.is_finite())
        })
    }
}

#[cfg(test)]
mod tests;
