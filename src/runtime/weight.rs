//! Weights on their way to a device.

use crate::RunError;
use crate::backend::{BurnBackend, Loader};
use crate::coded::Coded;
use crate::quantize::{quantize, quantize_rows, quantize_whole};
use crate::value::{Value, burn_dtype, host_data, host_shape};
use burn::tensor::TensorData;
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
            None => whole(tensor, (&rows).into(), fact, loader, device)?,
        },
        None => whole(tensor, source.weight(tensor, fact)?, fact, loader, device)?,
    };
    tracing::trace!("@{tensor}: on the device after {:?}", start.elapsed());
    Ok(value)
}

/// `rows` in host memory as a value of type `fact` is made of them.
pub fn made(rows: &WeightRows, fact: &Fact) -> WeightData {
    match rule_of(rows, fact) {
        Some(rule) => quantize_whole(fact, &rule, || reader(rows)).into(),
        None => rows.into(),
    }
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
        match self.tensors.next() {
            Some(tensor) if self.loader.write_over(&tensor, &data)? => Ok(tensor),
            _ => self.loader.upload(data),
        }
    }
}

/// `rows` as a value of type `fact`; `None` if they have to be converted as a whole, or cannot be.
fn load_rows<B: BurnBackend>(
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
    let rule = rule_of(rows, fact)?;
    let place = |write: &mut dyn FnMut(usize, &mut [u8])| Coded::<B>::place(fact, loader, write);
    let (codes, factors) = quantize_rows(fact, &rule, || reader(rows), place);
    Some(codes.and_then(|codes| {
        Coded::with_codes(codes, fact, factors.scales, factors.zeros, device, |data| loader.upload(data))
            .map(Value::Quantized)
    }))
}

/// By which rule `rows`, if they are those of a matrix of numbers, become codes of type `fact`.
fn rule_of(rows: &WeightRows, fact: &Fact) -> Option<Quantize> {
    let found = rows.fact();
    let is_quantized_here = found.shape.len() == 2 && found.shape == fact.shape && found.dtype.is_float();
    Quantize::of_weight(fact).filter(|_| is_quantized_here)
}

/// Reads single rows in f32.
fn reader<'r>(rows: &'r WeightRows<'_>) -> impl FnMut(usize, &mut [f32]) + 'r {
    let mut bytes = vec![0; rows.row_bytes()];
    move |row, values| {
        rows.write(row, &mut bytes);
        rows.fact().dtype.decode_into(&bytes, values);
    }
}

/// `data` as a value of type `fact`.
pub fn whole<B: BurnBackend>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::{Flex, FlexDevice};
    use reflux_ir::{DType as IrDType, Granularity, Scales};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Writes over tensors of `bytes` bytes alone, and notes what it writes.
    struct Noting {
        bytes: usize,
        over: Rc<RefCell<Vec<Vec<u8>>>>,
    }

    impl Loader<Flex> for Noting {
        fn upload(&mut self, data: TensorData) -> Result<Value<Flex>, RunError> {
            Ok(Value::of(data, &FlexDevice))
        }

        fn write_over(&mut self, _: &Value<Flex>, data: &TensorData) -> Result<bool, RunError> {
            let fits = data.bytes.len() == self.bytes;
            self.over.borrow_mut().extend(fits.then(|| data.bytes.to_vec()));
            Ok(fits)
        }
    }

    /// Codes and scales go where the old ones were, in that order; what cannot is placed anew; without an old value all is.
    #[test]
    fn what_is_loaded_over_a_value_takes_its_tensors() {
        let scales = Scales { dtype: IrDType::F32, per: Granularity::Row };
        let fact = Fact::new(IrDType::I8, [2, 4]).scaled(scales);
        let numbers = HostTensor::from_f32([2, 4], &[1.0, 2.0, 3.0, 127.5, 0.0, 0.0, 0.0, 255.0]);
        let rows = WeightRows::new(Fact::new(IrDType::F32, [2, 4]), move |first, to| {
            to.copy_from_slice(&numbers.bytes[first * 16..][..to.len()]);
        });
        let over = Rc::new(RefCell::new(Vec::new()));
        let load = |old: Option<&Value<Flex>>, bytes| {
            let mut loader = Noting { bytes, over: over.clone() };
            let mut over = Over::new(&mut loader, old);
            whole("w", made(&rows, &fact), &fact, &mut over, &FlexDevice).unwrap()
        };
        let first = load(None, 8);
        assert!(over.borrow().is_empty());
        load(Some(&first), 8);
        // The codes have as many bytes as the scales.
        let codes = vec![1, 2, 3, 127, 0, 0, 0, 127];
        let scales: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|scale| scale.to_le_bytes()).collect();
        assert_eq!(*over.borrow(), [codes, scales]);
        load(Some(&first), 7);
        assert_eq!(over.borrow().len(), 2);
    }
}
