//! Tensors of ONNX files, and numbers that are known when a graph is read.

use super::element::Element;
use bytes::Bytes;
use reflux_ir::{DType, HostTensor};

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub element: Element,
    pub shape: Vec<usize>,
    /// Its numbers, little-endian, row by row: as many as the shape has.
    pub bytes: Bytes,
}

impl Tensor {
    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its numbers.
    pub fn known(&self) -> Known {
        let numbers = self.element.numbers(&self.bytes);
        Known { element: self.element, shape: self.shape.clone(), numbers }
    }

    /// It in the type in which programs have it.
    pub fn host(&self) -> HostTensor {
        match self.element {
            // Their bytes are the same.
            Element::F32 | Element::F16 | Element::BF16 | Element::I32 => {
                HostTensor::new(self.element.dtype(), self.shape.clone(), self.bytes.to_vec())
            }
            _ => self.known().host(),
        }
    }
}

/// Numbers that are known when a graph is read: shapes, indices, and what is computed of them.
///
/// They are in f64 whatever their type, which holds all that are not integers beyond 2⁵³, and rounded to it after each operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub element: Element,
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
}

impl Known {
    /// A vector of integers.
    pub fn ints(numbers: impl IntoIterator<Item = i64>) -> Self {
        let numbers: Vec<f64> = numbers.into_iter().map(|number| number as f64).collect();
        Self { element: Element::I64, shape: vec![numbers.len()], numbers }
    }

    /// The same numbers as integers, each rounded towards zero.
    pub fn to_ints(&self) -> Vec<i64> {
        self.numbers.iter().map(|&number| number as i64).collect()
    }

    /// The one number that it is, if there is one.
    pub fn scalar(&self) -> Option<f64> {
        match self.numbers[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// It as another type.
    pub fn cast(&self, element: Element) -> Self {
        let numbers = self.numbers.iter().map(|&number| element.round(number)).collect();
        Self { element, shape: self.shape.clone(), numbers }
    }

    /// It in the type in which programs have it: integers beyond i32 are its ends.
    pub fn host(&self) -> HostTensor {
        let dtype = self.element.dtype();
        let bytes = match dtype {
            DType::I32 => self.numbers.iter().flat_map(|&number| (number as i32).to_le_bytes()).collect(),
            _ => dtype.encode(&self.numbers.iter().map(|&number| number as f32).collect::<Vec<_>>()),
        };
        HostTensor::new(dtype, self.shape.clone(), bytes)
    }
}
