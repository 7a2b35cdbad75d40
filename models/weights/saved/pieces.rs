//! The tensors that a saved weight is in a file.

use reflux_ir::{DType, Fact};
use safetensors::Dtype;

/// A tensor of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl Piece {
    /// Its size in the file.
    pub fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// What the weight `name` of type `fact` is in a file, in this order: its numbers; its blocks, each row as bytes; or its codes
/// under its own name, its scales as `name.scales` in [`Scales::grid`](reflux_ir::Scales::grid), and its zero points, if it has
/// any, as `name.zeros`. Codes of four bits are [packed](is_packed).
///
/// `None` if no file can hold it.
pub(super) fn pieces(name: &str, fact: &Fact) -> Option<Vec<Piece>> {
    let own = |dtype, shape: Vec<usize>| Piece { name: name.to_owned(), dtype, shape };
    let shape = fact.shape.to_vec();
    let Some(scales) = fact.scales else {
        if fact.dtype.is_block() {
            let (columns, rows) = shape.split_last()?;
            return Some(vec![own(Dtype::U8, [rows, &[fact.dtype.host_bytes(*columns)]].concat())]);
        }
        return Some(vec![own(number(fact.dtype)?, shape)]);
    };
    let codes = match fact.dtype {
        DType::I8 => own(Dtype::I8, shape),
        DType::F8E4M3 => own(Dtype::F8_E4M3, shape),
        DType::U4 if is_packed(fact) => {
            let (columns, rows) = shape.split_last()?;
            own(Dtype::U8, [rows, &[columns / 2]].concat())
        }
        DType::U4 => own(Dtype::U8, shape),
        DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::Block(_) => return None,
    };
    let more = |end: &str| {
        Some(Piece {
            name: format!("{name}.{end}"),
            dtype: number(scales.dtype)?,
            shape: scales.grid(&fact.shape).to_vec(),
        })
    };
    let mut pieces = vec![codes, more("scales")?];
    if fact.dtype.has_zero_points() {
        pieces.push(more("zeros")?);
    }
    Some(pieces)
}

/// Whether the codes of a type are stored as two neighbours of a row in a byte, the first in its lower half: those of four bits,
/// in rows of an even number.
pub(super) fn is_packed(fact: &Fact) -> bool {
    fact.is_quantized() && fact.dtype.bits() == 4 && fact.shape.columns().is_multiple_of(2)
}

/// The type of safetensors files for numbers.
fn number(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        DType::I32 => Some(Dtype::I32),
        DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_what_its_type_says() {
        let pieces = |text: &str| {
            let pieces = pieces("w", &reflux_ir::text::parse_type(text).unwrap()).unwrap();
            let written =
                pieces.iter().map(|Piece { name, dtype, shape }| format!("{name} {dtype:?} {shape:?}"));
            written.collect::<Vec<_>>().join(", ")
        };
        for (text, expected) in [
            ("bf16[2,3]", "w BF16 [2, 3]"),
            ("f32[7]", "w F32 [7]"),
            ("i8.row.bf16[2,3]", "w I8 [2, 3], w.scales BF16 [2, 1]"),
            ("f8e4m3.tensor.f32[2,3]", "w F8_E4M3 [2, 3], w.scales F32 [1, 1]"),
            ("u4.group2.bf16[2,4]", "w U8 [2, 2], w.scales BF16 [2, 2], w.zeros BF16 [2, 2]"),
            ("u4.group2.f32[2,3]", "w U8 [2, 3], w.scales F32 [2, 2], w.zeros F32 [2, 2]"),
            ("q8_0[2,64]", "w U8 [2, 68]"),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}
