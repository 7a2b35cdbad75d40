//! Weights on their way to a device.

use crate::RunError;
use crate::backend::{BurnBackend, Loader};
use crate::coded::Coded;
use crate::quantize::{quantize, quantize_rows};
use crate::value::{Value, burn_dtype, host_data, host_shape};
use burn::tensor::{DType, Shape, TensorData};
use reflux_ir::op::Quantize;
use reflux_ir::{Fact, HostTensor, QuantizedError, WeightData, WeightError, WeightRows, WeightSource};
use std::time::Instant;

/// The weight `tensor` as a value of type `fact`. Codes of a dense tensor are computed in the dtype of their scales.
///
/// What a source makes row by row is written to where the device reads it, and decoded, cast and quantized on the way: beside
/// the result no more than a few rows are in memory.
pub fn load_weight<B: BurnBackend>(
    source: &dyn WeightSource,
    tensor: &str,
    fact: &Fact,
    loader: &mut dyn Loader<B>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let start = Instant::now();
    let value = match source.rows(tensor, fact)? {
        Some(rows) => match load_rows(&rows, fact, loader, device) {
            Some(value) => value?,
            None => whole(tensor, rows.into(), fact, loader, device)?,
        },
        None => whole(tensor, source.weight(tensor, fact)?, fact, loader, device)?,
    };
    tracing::trace!("@{tensor}: on the device after {:?}", start.elapsed());
    Ok(value)
}

/// A loader that writes over the tensors of a value which an earlier loader has placed, as far as the backend can.
pub struct Over<'l, B: BurnBackend> {
    loader: &'l mut dyn Loader<B>,
    /// Those that are not written over yet, in the order in which they are loaded.
    tensors: std::vec::IntoIter<Value<B>>,
}

impl<'l, B: BurnBackend> Over<'l, B> {
    /// One that writes over `value`, if there is one.
    pub fn new(loader: &'l mut dyn Loader<B>, value: Option<&Value<B>>) -> Self {
        let tensors = match value {
            Some(Value::Quantized(coded)) => coded.pieces(),
            value => value.cloned().into_iter().collect(),
        };
        Self { loader, tensors: tensors.into_iter() }
    }
}

impl<B: BurnBackend> Loader<B> for Over<'_, B> {
    fn upload(&mut self, data: TensorData) -> Result<Value<B>, RunError> {
        if let Some(tensor) = self.tensors.next() {
            let mut write =
                |first: usize, to: &mut [u8]| to.copy_from_slice(&data.bytes[first..][..to.len()]);
            if self.loader.write_over(&tensor, (&data.shape, data.dtype), 1, &mut write)? {
                return Ok(tensor);
            }
        }
        self.loader.upload(data)
    }

    fn place(
        &mut self,
        shape: Shape,
        dtype: DType,
        row_bytes: usize,
        write: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<Value<B>, RunError> {
        if let Some(tensor) = self.tensors.next()
            && self.loader.write_over(&tensor, (&shape, dtype), row_bytes, write)?
        {
            return Ok(tensor);
        }
        self.loader.place(shape, dtype, row_bytes, write)
    }
}

/// `rows` as a value of type `fact`; `None` if they have to be converted as a whole, or cannot be.
pub fn load_rows<B: BurnBackend>(
    rows: &WeightRows,
    fact: &Fact,
    loader: &mut dyn Loader<B>,
    device: &B::Device,
) -> Option<Result<Value<B>, RunError>> {
    let found = rows.fact();
    let is_matrix = fact.shape.len() == 2;
    let mut write = |first: usize, to: &mut [u8]| rows.write_in_parallel(first, to);
    // Of matrices the rows along the first axis are those that have scales.
    if found.same_type(fact) && (is_matrix || !fact.is_quantized()) {
        return Some(if fact.is_quantized() {
            let codes = Coded::place(fact, loader, &mut write);
            codes.and_then(|codes| {
                let (scales, zeros) = (rows.scales().to_vec(), rows.zeros().to_vec());
                Coded::with_codes(codes, fact, scales, zeros, device, |data| loader.upload(data))
                    .map(Value::Quantized)
            })
        } else {
            let shape = host_shape(fact.dtype, &fact.shape);
            loader.place(shape, burn_dtype(fact.dtype), rows.row_bytes(), &mut write)
        });
    }
    let is_quantized_here = is_matrix && found.shape == fact.shape && found.dtype.is_float();
    let rule = Quantize::of_weight(fact).filter(|_| is_quantized_here)?;
    let reader = || {
        let mut bytes = vec![0; rows.row_bytes()];
        move |row: usize, values: &mut [f32]| {
            rows.write(row, &mut bytes);
            found.dtype.decode_into(&bytes, values);
        }
    };
    let (codes, factors) = quantize_rows(fact, &rule, reader, |write| Coded::<B>::place(fact, loader, write));
    Some(codes.and_then(|codes| {
        Coded::with_codes(codes, fact, factors.scales, factors.zeros, device, |data| loader.upload(data))
            .map(Value::Quantized)
    }))
}

/// `data` as a value of type `fact`.
fn whole<B: BurnBackend>(
    tensor: &str,
    data: WeightData,
    fact: &Fact,
    loader: &mut dyn Loader<B>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    match as_read(tensor, data, fact)? {
        WeightData::Quantized(codes) => {
            Coded::upload_by(codes, device, |codes| loader.upload(codes)).map(Value::Quantized)
        }
        WeightData::Dense(dense) => loader.upload(host_data(dense)),
    }
}

/// The weight `tensor` of `source` in host memory, just as a program that reads it as `fact` has it on a device: cast, or
/// quantized. So it can be saved, and read later with neither to be done again.
///
/// # Errors
/// If it cannot be read, or is of another shape or of other codes.
pub fn read_weight(source: &dyn WeightSource, tensor: &str, fact: &Fact) -> Result<WeightData, RunError> {
    as_read(tensor, source.weight(tensor, fact)?, fact)
}

/// `data` in the type `fact`.
fn as_read(tensor: &str, data: WeightData, fact: &Fact) -> Result<WeightData, RunError> {
    match data {
        WeightData::Quantized(codes) if codes.fact.same_type(fact) => {
            let unreadable = |error: QuantizedError| WeightError::Unreadable {
                name: tensor.to_owned(),
                why: error.to_string(),
            };
            codes.check().map_err(unreadable)?;
            Ok(codes.into())
        }
        WeightData::Quantized(codes) => {
            let (expected, found) = (fact.clone(), codes.fact);
            Err(RunError::WeightCodes { name: tensor.to_owned(), expected, found })
        }
        WeightData::Dense(dense) => {
            let dense = converted(tensor, dense, fact)?;
            Ok(match Quantize::of_weight(fact) {
                Some(rule) => quantize(&dense, &rule).into(),
                None => dense.into(),
            })
        }
    }
}

/// The weight `name` in the dtype that a value of type `fact` is made of.
fn converted(name: &str, dense: HostTensor, fact: &Fact) -> Result<HostTensor, RunError> {
    let expected = fact.unquantized();
    if *dense.shape != *expected.shape {
        let found = Fact::new(expected.dtype, dense.shape);
        return Err(RunError::WeightShape { name: name.to_owned(), expected, found });
    }
    Ok(if dense.dtype == expected.dtype { dense } else { dense.cast(expected.dtype) })
}
