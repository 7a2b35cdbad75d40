//! Element types: the one table of what each of them is.
//!
//! Everything that depends on an element type asks this table, or matches on [`DType`] without a `_` arm, so that the compiler
//! names each place that a new type has to be added to. To add one, say `f8e5m2`:
//!
//! 1. An entry below: its names, its size, its bounds, and how numbers become its bits and back. Text, the verifier, host
//!    tensors, weights' files and the command line need no more.
//! 2. `src/ir/op/quantize.rs` (the least scale of a group); `src/ir/machine.rs` and its tables (the rate of its products), and
//!    `src/ir/machine/work.rs` (which products are its).
//! 3. `src/runtime/quantize.rs`: how a group of values is quantized to it.
//! 4. What a backend needs. All of them: `src/runtime/value.rs` (the type of burn that stores it) and
//!    `src/runtime/ops/quantized.rs` (what its codes stand for). CUDA, in `src/runtime/backend/cuda`: `source/dtype.rs` (its type
//!    and its functions in kernels' text), `kernels/rowwise.cuh` (these functions), `tensor_map.rs` (what TMA calls it), and for
//!    products of it on matrix units `matmul.rs`, `wgmma.rs`, `cublaslt.rs`, `plan/single.rs` and `plan/value.rs`.
//! 5. `passes/quantize/scheme.rs`: a scheme that uses it; `src/ir/op/matmul_codes.rs`, where products of its codes are computed.
//! 6. How far rounding may put results from each other: `src/runtime/proof/outcome.rs` and `src/cli/commands/bisect.rs`. If networks
//!    compute in it: `src/pipeline/initial.rs` (how torch draws it) and `src/pipeline/networks/finite.rs` (advice). For fuzzing:
//!    `fuzz/generate/ops.rs` and `fuzz/generate/formulas.rs`.

mod blocks;
mod codec;
pub mod f8e4m3;

pub use blocks::BlockFormat;
pub use codec::{Codec, Meaning, NumberKind};

use codec::{decode_each, encode_each};
use half::f16;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Declares the enum and its table from one list of entries.
macro_rules! element_types {
    ($($(#[$doc:meta])* $dtype:ident = $codec:expr;)*) => {
        /// The element type of a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum DType {
            $($(#[$doc])* $dtype,)*
            /// Blocks of GGML, of weights only: see [`BlockFormat`].
            Block(BlockFormat),
        }

        impl DType {
            /// Every element type but the block formats, in declaration order.
            pub const ALL: &[DType] = &[$(Self::$dtype),*];

            /// Its entry in the table.
            pub const fn codec(self) -> &'static Codec {
                match self {
                    $(Self::$dtype => const { &$codec },)*
                    Self::Block(format) => format.codec(),
                }
            }
        }
    };
}

element_types! {
    /// IEEE 754 binary32.
    F32 = Codec {
        name: "f32",
        file_name: Some("F32"),
        elements: 1,
        bytes: 4,
        kind: NumberKind::Float,
        meaning: Meaning::Number,
        least: -(f32::MAX as f64),
        greatest: f32::MAX as f64,
        encode: |numbers, bytes| encode_each(numbers, bytes, f32::to_le_bytes),
        decode: |bytes, numbers| decode_each(bytes, numbers, f32::from_le_bytes),
    };
    /// IEEE 754 binary16.
    F16 = Codec {
        name: "f16",
        file_name: Some("F16"),
        elements: 1,
        bytes: 2,
        kind: NumberKind::Float,
        meaning: Meaning::Number,
        least: -65504.0,
        greatest: 65504.0,
        encode: |numbers, bytes| encode_each(numbers, bytes, |x| f16::from_f32(x).to_le_bytes()),
        decode: |bytes, numbers| decode_each(bytes, numbers, |code| f16::from_le_bytes(code).to_f32()),
    };
    /// The upper half of an [`F32`](Self::F32).
    BF16 = Codec {
        name: "bf16",
        file_name: Some("BF16"),
        elements: 1,
        bytes: 2,
        kind: NumberKind::Float,
        meaning: Meaning::Number,
        least: -(f32::from_bits(0x7f7f_0000) as f64),
        greatest: f32::from_bits(0x7f7f_0000) as f64,
        encode: |numbers, bytes| encode_each(numbers, bytes, |x| codec::nearest_bf16(x).to_le_bytes()),
        decode: |bytes, numbers| {
            decode_each(bytes, numbers, |code| f32::from_bits(u32::from(u16::from_le_bytes(code)) << 16))
        },
    };
    /// Two's complement.
    I32 = Codec {
        name: "i32",
        file_name: Some("I32"),
        elements: 1,
        bytes: 4,
        kind: NumberKind::Signed,
        meaning: Meaning::Number,
        least: i32::MIN as f64,
        greatest: i32::MAX as f64,
        encode: |numbers, bytes| encode_each(numbers, bytes, |x| (x.round_ties_even() as i32).to_le_bytes()),
        decode: |bytes, numbers| decode_each(bytes, numbers, |code| i32::from_le_bytes(code) as f32),
    };
    /// Two's complement. With scales, codes; without, numbers.
    I8 = Codec {
        name: "i8",
        file_name: Some("I8"),
        elements: 1,
        bytes: 1,
        kind: NumberKind::Signed,
        meaning: Meaning::Either,
        least: -128.0,
        greatest: 127.0,
        encode: |numbers, bytes| encode_each(numbers, bytes, |x| (x.round_ties_even() as i8).to_le_bytes()),
        decode: |bytes, numbers| decode_each(bytes, numbers, |code| f32::from(i8::from_le_bytes(code))),
    };
    /// Four exponent bits, three of mantissa, no infinities (OCP `E4M3`, torch's `float8_e4m3fn`). Codes only.
    F8E4M3 = Codec {
        name: "f8e4m3",
        file_name: Some("F8_E4M3"),
        elements: 1,
        bytes: 1,
        kind: NumberKind::Float,
        meaning: Meaning::Code,
        least: -448.0,
        greatest: 448.0,
        encode: |numbers, bytes| encode_each(numbers, bytes, |x| [f8e4m3::encode(x)]),
        decode: |bytes, numbers| decode_each(bytes, numbers, |[code]| f8e4m3::decode(code)),
    };
    /// 0 … 15. Codes only.
    U4 = Codec {
        name: "u4",
        file_name: None,
        elements: 2,
        bytes: 1,
        kind: NumberKind::Unsigned,
        meaning: Meaning::Code,
        least: 0.0,
        greatest: 15.0,
        encode: |numbers, bytes| {
            encode_each(numbers, bytes, |x| [x.round_ties_even().clamp(0.0, 15.0) as u8])
        },
        decode: |bytes, numbers| decode_each(bytes, numbers, |[code]: [u8; 1]| f32::from(code)),
    };
}

impl DType {
    /// The name used in IR text, e.g. `bf16`.
    pub const fn name(self) -> &'static str {
        self.codec().name
    }

    /// The type that safetensors files call `name`, e.g. `BF16`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.codec().file_name == Some(name))
    }

    /// Size of one element in bits, as weights are stored; of blocks, whose scales are among their bytes, rounded down.
    pub const fn bits(self) -> usize {
        self.codec().bytes * 8 / self.codec().elements
    }

    /// Size of one element in bytes, rounded up.
    pub const fn bytes(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// Size in bytes of `elements` as weights are stored: of 4-bit codes two to a byte, of blocks whole blocks. Saturates.
    pub const fn stored_bytes(self, elements: usize) -> usize {
        elements.div_ceil(self.codec().elements).saturating_mul(self.codec().bytes)
    }

    /// Size in bytes of `elements` in host memory, where a 4-bit code takes a byte.
    pub const fn host_bytes(self, elements: usize) -> usize {
        match self {
            Self::Block(_) => self.stored_bytes(elements),
            _ => elements * self.bytes(),
        }
    }

    /// The format of the blocks in which elements of this type are stored with their scales, if they are.
    pub const fn block(self) -> Option<BlockFormat> {
        match self {
            Self::Block(format) => Some(format),
            _ => None,
        }
    }

    /// Whether elements of this type are stored in [blocks](BlockFormat) with their scales.
    pub const fn is_block(self) -> bool {
        self.block().is_some()
    }

    /// Whether elements of this type mean nothing without [`Scales`](crate::Scales) beside them.
    pub const fn needs_scales(self) -> bool {
        matches!(self.codec().meaning, Meaning::Code)
    }

    /// Whether elements of this type are no numbers by themselves: codes, meaningful only with [`Scales`](crate::Scales), or blocks.
    pub const fn is_code(self) -> bool {
        matches!(self.codec().meaning, Meaning::Code | Meaning::Block)
    }

    /// Whether values of this type can have scales, and are then codes.
    pub const fn takes_scales(self) -> bool {
        matches!(self.codec().meaning, Meaning::Code | Meaning::Either)
    }

    /// Whether values of this type have a zero point per scale, without which unsigned codes could not represent negative
    /// numbers.
    pub const fn has_zero_points(self) -> bool {
        matches!(self.codec().kind, NumberKind::Unsigned) && self.takes_scales()
    }

    /// Whether values of this type are floating point. Types for codes only are not, whatever their bits mean.
    pub const fn is_float(self) -> bool {
        matches!((self.codec().kind, self.codec().meaning), (NumberKind::Float, Meaning::Number))
    }

    /// The least number, or for codes the least code.
    pub const fn least(self) -> f64 {
        self.codec().least
    }

    /// The greatest finite number, or for codes the greatest code.
    pub const fn greatest(self) -> f64 {
        self.codec().greatest
    }

    /// The code of the zero point itself: see [`Scales`](crate::Scales).
    pub const fn middle(self) -> u8 {
        if self.has_zero_points() { 1 << (self.bits() - 1) } else { 0 }
    }

    /// The little-endian bytes of `numbers`, rounded to this type as [`Codec::encode`] says.
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; numbers.len() * self.bytes()];
        (self.codec().encode)(numbers, &mut bytes);
        bytes
    }

    /// The numbers that little-endian `bytes` of this type are, exact for every type but `i32` beyond 2²⁴.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; self.elements_in(bytes.len())];
        self.decode_into(bytes, &mut numbers);
        numbers
    }

    /// How many elements `bytes` of host memory hold.
    pub fn elements_in(self, bytes: usize) -> usize {
        match self {
            Self::Block(format) => bytes / format.bytes() * format.elements(),
            _ => bytes / self.bytes(),
        }
    }

    /// [`decode`](Self::decode) into `numbers`.
    pub fn decode_into(self, bytes: &[u8], numbers: &mut [f32]) {
        (self.codec().decode)(bytes, numbers);
    }

    /// `x` rounded to this type.
    pub fn round(self, x: f32) -> f32 {
        let (mut bytes, mut rounded) = ([0; size_of::<f32>()], [0.0]);
        let bytes = &mut bytes[..self.bytes()];
        (self.codec().encode)(&[x], bytes);
        self.decode_into(bytes, &mut rounded);
        rounded[0]
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not an element type; the message lists those.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{name}` is not an element type; these are: {}; quantized types are written like i8.row.bf16",
    listed(|dtype| !dtype.is_code()),
    name = .0
)]
pub struct UnknownDType(pub String);

/// The names of the types that `is_meant`, `f32, bf16 and i8`.
pub(crate) fn listed(is_meant: impl Fn(DType) -> bool) -> String {
    let names: Vec<_> =
        DType::ALL.iter().filter(|&&dtype| is_meant(dtype)).map(|dtype| dtype.name()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let blocks = BlockFormat::ALL.iter().map(|&format| Self::Block(format));
        let found = Self::ALL.iter().copied().chain(blocks).find(|dtype| dtype.name() == text);
        found.ok_or_else(|| UnknownDType(text.to_owned()))
    }
}

impl TryFrom<String> for DType {
    type Error = UnknownDType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DType> for &'static str {
    fn from(dtype: DType) -> Self {
        dtype.name()
    }
}

#[cfg(test)]
mod tests;
