//! The weights of a program that was lowered from an ONNX file.

use super::names::sanitized;
use super::tensor::{Known, Tensor};
use indexmap::IndexMap;
use reflux_ir::{DType, Fact, HostTensor, WeightData, WeightError, WeightRows, WeightSource};
use std::collections::HashMap;

/// Tensors of an ONNX file by the names that a program has for them, and numbers that were computed while it was lowered.
#[derive(Debug, Default)]
pub struct OnnxWeights {
    stored: IndexMap<String, Stored>,
    /// What the file calls a tensor, whether it is transposed, and the shape in which it is read, with its name here.
    names: HashMap<(String, bool, Vec<usize>), String>,
}

#[derive(Debug)]
enum Stored {
    /// As it is in the file.
    Tensor(Tensor),
    /// A matrix of which the columns in the file are the rows here, as `linear` reads them.
    Transposed(Tensor),
    Known(HostTensor),
}

impl OnnxWeights {
    /// The name and the type of a tensor, which the file calls `name`.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor, transposed: bool) -> (String, Fact) {
        let key = (name.to_owned(), transposed, tensor.shape.clone());
        let known = self.names.get(&key).cloned();
        let here = known.unwrap_or_else(|| {
            let suffix = if transposed { ".transposed" } else { "" };
            let stored = if transposed { Stored::Transposed } else { Stored::Tensor };
            let here = self.insert(&format!("{}{suffix}", sanitized(name)), stored(tensor.clone()));
            self.names.insert(key, here.clone());
            here
        });
        let fact = self.stored[&here].fact();
        (here, fact)
    }

    /// The name and the type of numbers that are to be called `name`.
    pub fn known(&mut self, name: &str, known: &Known) -> (String, Fact) {
        let stored = Stored::Known(known.host());
        let fact = stored.fact();
        let same = |(_, other): &(&String, &Stored)| matches!((other, &stored), (Stored::Known(a), Stored::Known(b)) if a == b);
        let here = match self.stored.iter().find(same) {
            Some((here, _)) => here.clone(),
            None => self.insert(name, stored),
        };
        (here, fact)
    }

    fn insert(&mut self, name: &str, stored: Stored) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let here = names.find(|name| !self.stored.contains_key(name)).expect("some name is free");
        self.stored.insert(here.clone(), stored);
        here
    }
}

impl Stored {
    fn fact(&self) -> Fact {
        match self {
            Self::Tensor(tensor) => Fact::new(tensor.element.dtype(), tensor.shape.clone()),
            Self::Transposed(tensor) => Fact::new(tensor.element.dtype(), [tensor.shape[1], tensor.shape[0]]),
            Self::Known(host) => Fact::new(host.dtype, host.shape.clone()),
        }
    }
}

/// Writes rows from `first` on of the matrix whose columns are the rows of `[rows, columns]` elements of `size` bytes.
fn transpose(from: &[u8], columns: usize, size: usize, first: usize, to: &mut [u8]) {
    let rows = from.len() / (columns * size);
    for (index, row) in to.chunks_mut(rows * size).enumerate() {
        let column = &from[(first + index) * size..];
        for (to, from) in row.chunks_exact_mut(size).zip(column.chunks(columns * size)) {
            to.copy_from_slice(&from[..size]);
        }
    }
}

impl WeightSource for OnnxWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        if let Some(rows) = self.rows(name, fact)? {
            return Ok((&rows).into());
        }
        match self.stored.get(name) {
            Some(Stored::Tensor(tensor) | Stored::Transposed(tensor)) => Ok(tensor.host().into()),
            Some(Stored::Known(host)) => Ok(host.clone().into()),
            None => Err(WeightError::Missing(name.to_owned())),
        }
    }

    fn rows(&self, name: &str, _fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let Some(stored) = self.stored.get(name) else { return Err(WeightError::Missing(name.to_owned())) };
        let fact = stored.fact();
        let (tensor, transposed) = match stored {
            Stored::Tensor(tensor) => (tensor, false),
            Stored::Transposed(tensor) => (tensor, true),
            Stored::Known(_) => return Ok(None),
        };
        // Doubles and the like are converted as a whole.
        let bytes = match tensor.element.bytes() == fact.dtype.bytes() && fact.dtype != DType::I32 {
            true => tensor.bytes.clone(),
            false if transposed => tensor.host().bytes.into(),
            false => return Ok(None),
        };
        let (size, row) = (fact.dtype.bytes(), fact.row_bytes());
        Ok(Some(match transposed {
            true => {
                let columns = tensor.shape[1];
                WeightRows::new(fact, move |first, to| transpose(&bytes, columns, size, first, to))
            }
            false => {
                WeightRows::new(fact, move |first, to| to.copy_from_slice(&bytes[first * row..][..to.len()]))
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::Element;
    use super::*;

    #[test]
    fn rows_of_a_transposed_matrix_are_its_columns() {
        let numbers: Vec<u8> = (0..6).flat_map(|number| (number as f32).to_le_bytes()).collect();
        let tensor = Tensor { element: Element::F32, shape: vec![2, 3], bytes: numbers.into() };
        let mut weights = OnnxWeights::default();
        let (name, fact) = weights.tensor("a/w", &tensor, true);
        assert_eq!((name.as_str(), &fact), ("a.w.transposed", &Fact::new(DType::F32, [3, 2])));
        let WeightData::Dense(host) = weights.weight(&name, &fact).unwrap() else { panic!("it is dense") };
        assert_eq!(host.to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        // Another tensor whose name is the same in other characters.
        assert_eq!(weights.tensor("a.w", &tensor, false).0, "a.w");
        assert_eq!(weights.tensor("a:w", &tensor, false).0, "a.w_2");
        assert_eq!(weights.tensor("a/w", &tensor, true).0, name);
    }
}
