//! What an ONNX file consists of, as plain values: `proto` makes messages of them.

use reflux_ir::{DType, ModulePath};
use std::borrow::Cow;

macro_rules! elements {
    ($($element:ident = $number:literal;)*) => {
        /// The type of a tensor's elements: those of `TensorProto.DataType` that exports have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ElementType {
            $($element,)*
        }

        impl ElementType {
            /// What files call it.
            pub const fn number(self) -> i32 {
                match self { $(Self::$element => $number,)* }
            }
        }
    };
}

elements! {
    F32 = 1;
    I8 = 3;
    I32 = 6;
    I64 = 7;
    Bool = 9;
    F16 = 10;
    F64 = 11;
    BF16 = 16;
    F8E4M3 = 17;
    U4 = 21;
}

impl ElementType {
    /// The type in which ONNX has numbers, or codes, of `dtype`; it has none for GGML's blocks.
    pub const fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::BF16,
            DType::I32 => Self::I32,
            DType::I8 => Self::I8,
            DType::F8E4M3 => Self::F8E4M3,
            DType::U4 => Self::U4,
            DType::Block(_) => return None,
        })
    }
}

/// A tensor that is small enough to be in the model itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub element: ElementType,
    pub shape: Vec<usize>,
    /// Little-endian, row by row.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A vector of integers.
    pub fn ints(numbers: &[i64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { element: ElementType::I64, shape: vec![numbers.len()], bytes }
    }

    /// One integer, without axes.
    pub fn int(number: i64) -> Self {
        Self { shape: Vec::new(), ..Self::ints(&[number]) }
    }

    /// Numbers in f32.
    pub fn floats(shape: &[usize], numbers: &[f32]) -> Self {
        Self { element: ElementType::F32, shape: shape.to_vec(), bytes: DType::F32.encode(numbers) }
    }

    /// A vector of numbers in f64.
    pub fn doubles(numbers: &[f64]) -> Self {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { element: ElementType::F64, shape: vec![numbers.len()], bytes }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f32),
    Text(&'static str),
    Ints(Vec<i64>),
    Tensor(Tensor),
}

/// An attribute with its name.
pub type Named = (&'static str, Attribute);

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Cow<'static, str>,
    /// Whether it is one of the model's functions, and none of ONNX's own ops.
    pub is_call: bool,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<Named>,
    /// What it is called, and the module that it is in; nodes of functions have neither.
    pub place: Option<(String, ModulePath)>,
}

/// A function of a model: what an op computes, in ONNX's ops.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// The op that it is, in IR text.
    pub meaning: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<Node>,
}

/// A value that a graph is given, makes or returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    pub name: String,
    pub element: ElementType,
    pub shape: Vec<usize>,
}

impl Typed {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|&extent| extent as u64).product();
        match self.element {
            ElementType::U4 => elements.div_ceil(2),
            ElementType::I8 | ElementType::Bool | ElementType::F8E4M3 => elements,
            ElementType::F16 | ElementType::BF16 => 2 * elements,
            ElementType::F32 | ElementType::I32 => 4 * elements,
            ElementType::I64 | ElementType::F64 => 8 * elements,
        }
    }
}

/// Where the bytes of an initializer are.
#[derive(Clone, Debug, PartialEq)]
pub enum Bytes {
    Here(Vec<u8>),
    /// From this byte on in the file beside the model.
    Beside(u64),
}

/// A graph with its weights.
#[derive(Debug, Default)]
pub struct GraphParts {
    pub name: String,
    pub inputs: Vec<Typed>,
    pub outputs: Vec<Typed>,
    pub nodes: Vec<Node>,
    /// The values between the nodes.
    pub values: Vec<Typed>,
    pub initializers: Vec<(Typed, Bytes)>,
    pub functions: Vec<Function>,
}
