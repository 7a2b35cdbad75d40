//! Element types of ONNX.

use half::{bf16, f16};
use reflux_ir::DType;
use std::fmt;

macro_rules! elements {
    ($($(#[$doc:meta])* $element:ident = $number:literal, $name:literal, $bytes:literal;)*) => {
        /// The type of a tensor's elements: those of `TensorProto.DataType` that are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Element {
            $($(#[$doc])* $element,)*
        }

        impl Element {
            /// The element type that files call `number`.
            ///
            /// # Errors
            /// What is the matter with it, as the end of a sentence.
            pub fn of(number: i32) -> Result<Self, String> {
                match number {
                    $($number => Ok(Self::$element),)*
                    0 => Err("does not say of which type its elements are".into()),
                    8 => Err("has strings as elements, which are not read".into()),
                    _ => Err(format!("has elements of ONNX's type {number}, which is not read")),
                }
            }

            /// What ONNX calls it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$element => $name,)* }
            }

            /// Size of an element.
            pub const fn bytes(self) -> usize {
                match self { $(Self::$element => $bytes,)* }
            }
        }
    };
}

elements! {
    F32 = 1, "float", 4;
    U8 = 2, "uint8", 1;
    I8 = 3, "int8", 1;
    U16 = 4, "uint16", 2;
    I16 = 5, "int16", 2;
    I32 = 6, "int32", 4;
    I64 = 7, "int64", 8;
    /// A byte, 0 or 1.
    Bool = 9, "bool", 1;
    F16 = 10, "float16", 2;
    F64 = 11, "double", 8;
    U32 = 12, "uint32", 4;
    U64 = 13, "uint64", 8;
    BF16 = 16, "bfloat16", 2;
}

impl Element {
    /// Whether its numbers are floating point.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::F64 | Self::BF16)
    }

    /// The type in which programs have such values: doubles in f32, integers in i32, and truth as 0 and 1 in f32, which
    /// arithmetic takes.
    pub const fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::F64 | Self::Bool => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::U8 | Self::I8 | Self::U16 | Self::I16 | Self::I32 | Self::I64 | Self::U32 | Self::U64 => {
                DType::I32
            }
        }
    }

    /// The numbers that little-endian `bytes` of this type are; `i64` and `u64` beyond 2⁵³ are rounded.
    pub fn numbers(self, bytes: &[u8]) -> Vec<f64> {
        macro_rules! each {
            ($type:ty, $as_f64:expr) => {
                bytes
                    .chunks_exact(size_of::<$type>())
                    .map(|chunk| $as_f64(<$type>::from_le_bytes(chunk.try_into().expect("it is as long"))))
                    .collect()
            };
        }
        match self {
            Self::F32 => each!(f32, f64::from),
            Self::F64 => each!(f64, f64::from),
            Self::F16 => each!(u16, |bits| f16::from_bits(bits).to_f64()),
            Self::BF16 => each!(u16, |bits| bf16::from_bits(bits).to_f64()),
            Self::U8 => each!(u8, f64::from),
            Self::Bool => bytes.iter().map(|&byte| f64::from(byte != 0)).collect(),
            Self::I8 => each!(i8, f64::from),
            Self::U16 => each!(u16, f64::from),
            Self::I16 => each!(i16, f64::from),
            Self::I32 => each!(i32, f64::from),
            Self::U32 => each!(u32, f64::from),
            Self::I64 => each!(i64, |number| number as f64),
            Self::U64 => each!(u64, |number| number as f64),
        }
    }

    /// `number` rounded to this type, towards zero for integers, which saturate.
    pub fn round(self, number: f64) -> f64 {
        match self {
            Self::F32 => f64::from(number as f32),
            Self::F64 => number,
            Self::F16 => f16::from_f64(number).to_f64(),
            Self::BF16 => bf16::from_f64(number).to_f64(),
            Self::Bool => f64::from(number != 0.0),
            Self::U8 => f64::from(number as u8),
            Self::I8 => f64::from(number as i8),
            Self::U16 => f64::from(number as u16),
            Self::I16 => f64::from(number as i16),
            Self::I32 => f64::from(number as i32),
            Self::U32 => f64::from(number as u32),
            Self::I64 => number as i64 as f64,
            Self::U64 => number as u64 as f64,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
