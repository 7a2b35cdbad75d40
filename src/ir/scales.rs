//! Scales of quantized values.

use crate::{DType, Shape};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How many codes share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Granularity {
    /// All of them.
    Tensor,
    /// Those of one row along the last axis: a token of an activation, an output channel of a weight.
    Row,
    /// This many neighbours along the last axis.
    Group(u16),
}

impl Granularity {
    /// How many neighbours of a row of `columns` share a scale.
    pub fn extent(self, columns: usize) -> usize {
        match self {
            Self::Tensor | Self::Row => columns,
            Self::Group(size) => columns.min(size.into()),
        }
    }
}

/// The scales of a quantized value. The value of a signed code is `code · scale`; that of an unsigned one, which has a zero
/// point of the scales' type per scale, is `(code − 8) · scale + zero`, 8 being the [middle](DType::middle) of `u4`.
///
/// Quantizing computes in the scales' type too: a tensor is rounded to it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scales {
    pub per: Granularity,
    pub dtype: DType,
}

impl Scales {
    /// How many scales a value of `shape` has.
    pub fn count(&self, shape: &Shape) -> usize {
        self.grid(shape).into_iter().product()
    }

    /// The shape of the scales of a value of `shape`: `[1, 1]`, `[rows, 1]` or `[rows, groups]`.
    pub fn grid(&self, shape: &Shape) -> [usize; 2] {
        match self.per {
            Granularity::Tensor => [1, 1],
            per @ (Granularity::Row | Granularity::Group(_)) => {
                let columns = shape.columns();
                [shape.rows(), columns.div_ceil(per.extent(columns))]
            }
        }
    }

    /// Size in bytes of the scales of a value of `shape`, and of its zero points if `codes` have them.
    pub fn bytes(&self, codes: DType, shape: &Shape) -> u64 {
        let each = if codes.has_zero_points() { 2 } else { 1 };
        (self.count(shape) as u64).saturating_mul((each * self.dtype.bytes()) as u64)
    }
}

impl fmt::Display for Scales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per {
            Granularity::Tensor => f.write_str("tensor")?,
            Granularity::Row => f.write_str("row")?,
            Granularity::Group(size) => write!(f, "group{size}")?,
        }
        write!(f, ".{}", self.dtype)
    }
}

/// Text that does not name scales.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name scales, such as row.f32, tensor.f32 or group128.bf16")]
pub struct UnknownScales(String);

impl FromStr for Scales {
    type Err = UnknownScales;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownScales(text.to_owned());
        let (per, dtype) = text.split_once('.').ok_or_else(unknown)?;
        let per = match per {
            "tensor" => Granularity::Tensor,
            "row" => Granularity::Row,
            _ => {
                let size = per.strip_prefix("group").and_then(|size| size.parse().ok());
                Granularity::Group(size.filter(|&size| size > 0).ok_or_else(unknown)?)
            }
        };
        let dtype = dtype.parse().ok().filter(|dtype: &DType| dtype.is_float()).ok_or_else(unknown)?;
        Ok(Self { per, dtype })
    }
}

impl TryFrom<String> for Scales {
    type Error = UnknownScales;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Scales> for String {
    fn from(scales: Scales) -> Self {
        scales.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fact;

    #[test]
    fn text_round_trips() {
        for text in ["tensor.f32", "row.bf16", "group128.f16"] {
            assert_eq!(text.parse::<Scales>().unwrap().to_string(), text);
        }
        for text in ["row", "row.i8", "group0.f32", "group.f32", "column.f32", "group70000.f32", ""] {
            assert_eq!(text.parse::<Scales>(), Err(UnknownScales(text.into())));
        }
    }

    #[test]
    fn bytes_count_codes_scales_and_zero_points() {
        let fact = |dtype, scales: &str| Fact::new(dtype, [3, 300]).scaled(scales.parse().unwrap()).bytes();
        assert_eq!(fact(DType::I8, "row.bf16"), 900 + 3 * 2);
        assert_eq!(fact(DType::F8E4M3, "tensor.f32"), 900 + 4);
        // Three groups to a row, the last of them short.
        assert_eq!(fact(DType::U4, "group128.bf16"), 450 + 9 * 2 * 2);
    }
}
