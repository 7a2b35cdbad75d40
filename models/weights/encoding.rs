//! How the bytes of stored tensors are numbers.

use super::widen;
use reflux_ir::{BlockFormat, DType, Fact, Granularity, Scales};
use safetensors::Dtype;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How the bytes of a tensor are its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TensorEncoding {
    /// One after another, of a type of safetensors files.
    Elements(Dtype),
    /// In blocks of GGML along the rows.
    Blocks(BlockFormat),
    /// Codes of eight bits, each to be multiplied by a scale.
    Scaled { codes: Dtype, scales: Factors },
    /// Codes of four bits, two to a byte, that number the entries of a table.
    Looked(Looked),
}

/// The scales of codes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Factors {
    One(f32),
    /// One for each row.
    Rows(Vec<f32>),
}

/// Codes of bitsandbytes: the first of two is in the upper half of a byte.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Looked {
    /// What each code stands for, before it is multiplied.
    pub table: [f32; 16],
    /// The factors of the whole of the file's tensor, one for each `block` of its elements.
    pub factors: Arc<Vec<f32>>,
    pub block: usize,
    /// The first element's number in the file's tensor.
    pub start: usize,
}

impl TensorEncoding {
    /// The bytes of the first `elements` of a tensor, if these end where a byte and a block do.
    pub fn bytes(&self, elements: usize) -> Option<usize> {
        match self {
            Self::Elements(dtype) => {
                elements.checked_mul(dtype.bitsize()).filter(|bits| bits % 8 == 0).map(|bits| bits / 8)
            }
            Self::Blocks(format) => elements
                .is_multiple_of(format.elements())
                .then(|| elements / format.elements())?
                .checked_mul(format.bytes()),
            Self::Scaled { .. } => Some(elements),
            Self::Looked(_) => elements.is_multiple_of(2).then_some(elements / 2),
        }
    }

    /// How many elements have so many bytes.
    pub fn elements(&self, bytes: usize) -> usize {
        match self {
            Self::Elements(dtype) => bytes * 8 / dtype.bitsize(),
            Self::Blocks(format) => bytes / format.bytes() * format.elements(),
            Self::Scaled { .. } => bytes,
            Self::Looked(_) => bytes * 2,
        }
    }

    /// That of some rows of a tensor with `width` elements to a row.
    pub fn rows(&self, rows: Range<usize>, width: usize) -> Self {
        match self {
            Self::Scaled { codes, scales: Factors::Rows(scales) } => {
                Self::Scaled { codes: *codes, scales: Factors::Rows(scales[rows].to_vec()) }
            }
            Self::Looked(looked) => {
                Self::Looked(Looked { start: looked.start + rows.start * width, ..looked.clone() })
            }
            whole @ (Self::Elements(_) | Self::Blocks(_) | Self::Scaled { .. }) => whole.clone(),
        }
    }

    /// That of a tensor which is continued by one of the encoding `next`; `None` if one cannot say so.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (
                Self::Scaled { codes, scales: Factors::Rows(first) },
                Self::Scaled { codes: other, scales: Factors::Rows(second) },
            ) if codes == other => {
                let scales = Factors::Rows([&first[..], second].concat());
                Some(Self::Scaled { codes: *codes, scales })
            }
            (Self::Looked(_), _) => None,
            _ => (self == next).then(|| self.clone()),
        }
    }

    /// The type that its numbers are read in; `None` if they are not read.
    pub fn read_as(&self) -> Option<DType> {
        match self {
            Self::Elements(dtype) if widen::codes(*dtype).is_some() => Some(DType::BF16),
            Self::Elements(_) => self.float(),
            Self::Blocks(_) | Self::Scaled { .. } | Self::Looked(_) => Some(DType::F32),
        }
    }

    /// The float type of which the elements are numbers as they are, if they are. Integers are codes of some scheme,
    /// meaningless without its scales.
    pub fn float(&self) -> Option<DType> {
        match self {
            Self::Elements(dtype) => {
                DType::from_file_name(&dtype.to_string()).filter(|dtype| dtype.is_float())
            }
            Self::Blocks(_) | Self::Scaled { .. } | Self::Looked(_) => None,
        }
    }

    /// The type of codes in which a program can read a matrix of `shape` that is stored like this, with nothing lost; `None` if
    /// it is stored as numbers, or as codes that programs do not have.
    pub fn coded(&self, shape: &[usize]) -> Option<Fact> {
        let of = |codes: Dtype, per| {
            let dtype = match codes {
                Dtype::F8_E4M3 => DType::F8E4M3,
                Dtype::I8 => DType::I8,
                _ => return None,
            };
            Some(Fact::new(dtype, shape.to_vec()).scaled(Scales { per, dtype: DType::F32 }))
        };
        match self {
            Self::Elements(dtype @ Dtype::F8_E4M3) => of(*dtype, Granularity::Tensor),
            Self::Scaled { codes, scales: Factors::One(_) } => of(*codes, Granularity::Tensor),
            Self::Scaled { codes, scales: Factors::Rows(_) } => of(*codes, Granularity::Row),
            Self::Blocks(format) => Some(Fact::new(DType::Block(*format), shape.to_vec())),
            Self::Elements(_) | Self::Looked(_) => None,
        }
        .filter(|fact| fact.fault().is_none())
    }

    /// The scales of the codes of a tensor that is [`coded`](Self::coded); blocks have theirs among their bytes.
    pub fn scales(&self) -> Vec<f32> {
        match self {
            Self::Scaled { scales: Factors::One(scale), .. } => vec![*scale],
            Self::Scaled { scales: Factors::Rows(scales), .. } => scales.clone(),
            Self::Elements(_) => vec![1.0],
            Self::Blocks(_) | Self::Looked(_) => Vec::new(),
        }
    }

    /// The numbers of `part`, whole rows of `width` elements from row `first` on or one row that ends where it does, computed in
    /// f32, as the bytes of `dtype`.
    pub fn decode(&self, part: &[u8], first: usize, width: usize, dtype: DType, numbers: &mut [u8]) {
        let row_bytes = self.bytes(width).unwrap_or(part.len());
        let mut decoded = vec![0.0; width];
        let rows = numbers.chunks_mut(dtype.bytes() * width).zip(part.chunks(row_bytes));
        for (row, (numbers, bytes)) in rows.enumerate() {
            self.decode_row(bytes, first + row, &mut decoded);
            (dtype.codec().encode)(&decoded, numbers);
        }
    }

    fn decode_row(&self, bytes: &[u8], row: usize, numbers: &mut [f32]) {
        match self {
            Self::Elements(codes) if widen::codes(*codes).is_some() => {
                let value = value_of(*codes);
                numbers.iter_mut().zip(bytes).for_each(|(y, &code)| *y = value(code));
            }
            Self::Elements(_) => {
                self.float().expect("others are not read").decode_into(bytes, numbers);
            }
            Self::Blocks(format) => (format.codec().decode)(bytes, numbers),
            Self::Scaled { codes, scales } => {
                let scale = match scales {
                    Factors::One(scale) => *scale,
                    Factors::Rows(scales) => scales[row],
                };
                let value = value_of(*codes);
                numbers.iter_mut().zip(bytes).for_each(|(y, &code)| *y = value(code) * scale);
            }
            Self::Looked(looked) => looked.decode(row * numbers.len(), bytes, numbers),
        }
    }
}

impl fmt::Display for TensorEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(dtype) => write!(f, "{dtype:?}"),
            Self::Blocks(format) => f.write_str(format.codec().name),
            Self::Scaled { codes, .. } => write!(f, "{codes:?} with scales"),
            Self::Looked(_) => f.write_str("4 bits with a table"),
        }
    }
}

/// What codes of a type stand for before they are scaled.
fn value_of(codes: Dtype) -> impl Fn(u8) -> f32 {
    let table = widen::codes(codes);
    move |code| match table {
        Some(table) => f32::from_bits(u32::from(table[usize::from(code)]) << 16),
        None => f32::from(code.cast_signed()),
    }
}

impl Looked {
    /// The numbers from element `first` of this tensor on.
    fn decode(&self, first: usize, bytes: &[u8], numbers: &mut [f32]) {
        let first = self.start + first;
        for (i, (pair, &byte)) in numbers.chunks_mut(2).zip(bytes).enumerate() {
            for (y, (at, code)) in pair.iter_mut().zip([(0, byte >> 4), (1, byte & 15)]) {
                *y = self.table[usize::from(code)] * self.factors[(first + 2 * i + at) / self.block];
            }
        }
    }
}
