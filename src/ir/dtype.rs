//! Element types.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F32,
    F16,
    BF16,
    I32,
    I8,
    /// Four exponent bits, three of mantissa, no infinities (OCP `E4M3`, torch's `float8_e4m3fn`). Codes only.
    F8E4M3,
    /// 0 … 15. Codes only.
    U4,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 7] =
        [Self::F32, Self::F16, Self::BF16, Self::I32, Self::I8, Self::F8E4M3, Self::U4];

    /// Size of one element in bits, as weights are stored.
    pub const fn bits(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 32,
            Self::F16 | Self::BF16 => 16,
            Self::I8 | Self::F8E4M3 => 8,
            Self::U4 => 4,
        }
    }

    /// Size of one element in bytes; one that takes less than a byte counts as one.
    pub const fn bytes(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// Whether values of this type are meaningful only with scales: see [`Scales`](crate::Scales).
    pub const fn is_code(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::U4)
    }

    /// Whether values of this type are floating point.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// The name used in IR text, e.g. `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I32 => "i32",
            Self::I8 => "i8",
            Self::F8E4M3 => "f8e4m3",
            Self::U4 => "u4",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no element type; the message lists the ones there are.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no element type (f32, f16, bf16, i32 and i8 are; quantized ones are written like i8.row.bf16)"
)]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == text).ok_or_else(|| UnknownDType(text.to_owned()))
    }
}
